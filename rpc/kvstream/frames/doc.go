// Package frames encodes and decodes what the frames of the native service
// carry: writes, reads and their results, the messages Writes, Reads,
// WriteResults and ReadResults of kvpb/kv.proto. It does so without copying keys
// and values and without an allocation for each operation, for both sides of the
// stream.
//
// Writes have the same form on the wire and in the log, so it is the log's
// encoder (statemachine/envelope) that writes them. Decoders of results skip
// fields that they do not know; decoders of writes refuse them, since a write
// that is understood in part must not be done.
//
// Slices that decoders return alias what they read.
package frames
