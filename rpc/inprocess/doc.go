// Package inprocess lets a gRPC service be called by the process that serves
// it, without encoding and without a connection: by the JSON gateway and by
// services that are built on others.
//
// What it does not do: it checks nothing and intercepts nothing. What a gRPC
// server's interceptors do does not happen here.
//
// Guarantees
//
//  1. A service sees the caller's outgoing metadata as incoming, as if it had
//     come over a wire, and the values of the caller's context.
//  2. Nothing is buffered: a Send returns when the other side has received, so
//     whoever does not read holds up who writes, as flow control would.
//  3. Messages are passed on as they are, not copied. Who has sent one must not
//     change it.
//  4. A stream ends when its context does, or its service returns; then both
//     ends return.
//
// Goroutines: one for each stream, which runs the service. It ends when the
// service returns.
package inprocess
