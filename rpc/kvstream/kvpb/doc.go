// Package kvpb holds the messages and stubs of the native service, generated
// from kv.proto. The field numbers are the wire format: add, never reuse
// (invariant 10).
package kvpb
