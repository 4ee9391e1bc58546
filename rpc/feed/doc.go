// Package feed is the language between the watch streams of package etcdv3 and
// what feeds them (server/watch): requests, messages, and events that are
// encoded once, however many watchers get them.
//
// What it does not do: it delivers nothing and knows no transport. A Message
// becomes bytes that a gRPC server sends without copying them (Encode, see
// listen.Codec), or a message of etcdserverpb for callers in process (Response).
//
// Guarantees
//
//  1. An Event never changes, and neither do its bytes: any number of messages
//     may share it.
//  2. Encode and Response say the same.
//  3. Fragments never cuts an event, and marks all but the last message.
//
// No goroutines and no locks.
package feed
