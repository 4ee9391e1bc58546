// Package unary is a gRPC client connection for unary calls that costs little:
// on a machine that the generator shares with the servers, what the generator
// takes hides what the servers differ by. On the wire it is what gRPC's own
// client sends, but for pings that estimate the link.
//
// It does not stream, balance, retry, compress, or speak TLS. A connection that
// broke fails the calls it had, and the next call makes a new one.
//
// Invariants
//
//  1. A call is sent once, and answered once: with the server's status, with
//     the error of its context, or as Unavailable when the connection broke.
//  2. Nothing is sent beyond the windows of the server.
//
// One goroutine reads each connection. Whoever queues the first bytes writes
// them, and all that is queued meanwhile. session.mu guards calls, windows and
// what is to be written.
package unary
