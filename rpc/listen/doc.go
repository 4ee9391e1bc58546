// Package listen turns one port into several servers: a [Splitter] looks at the
// first bytes of every connection and hands HTTP/2 with prior knowledge to the
// gRPC server, what begins with the preface of another protocol ([Entrance].Other)
// to whoever speaks that, and everything else to net/http, in plain text, behind
// TLS, or both on the same port. It also builds the gRPC server with the limits,
// keepalive rules and counters every service wants.
//
// Why not grpc.Server.ServeHTTP: it costs three times the CPU of a put. Why
// not a general multiplexer: three protocols need two comparisons.
//
// What it does not do: it knows no service, reads no request, and reads no
// certificate file: what TLS demands is said by the tls.Config of an [Entrance].
// What came in by one entrance never reaches the servers of another, so a
// service is protected by registering it only where callers are certified.
//
// Guarantees
//
//  1. A connection is handed on with every byte it sent, or closed.
//
//  2. A connection that has not shown its protocol (and finished its
//     handshake) when the deadline passes is closed.
//
//  3. At most PendingMax connections are being sniffed; when the table is full
//     a new one is closed at once, counted and logged (invariant 5).
//
//  4. Every connection that is closed for a fault of the other side is counted
//     and logged once, as "rejected connection on … endpoint"; one that says
//     nothing at all before it leaves is not.
//
//  5. Close returns after every goroutine has ended; connections already
//     handed on belong to their server.
//
//  6. What a client says of itself makes no more than a bounded number of
//     metric series (ClientRequests).
//
// Goroutines: one accepts, one per pending connection sniffs; all are waited
// for by Close. Splitter.mu guards the set of pending connections.
//
// Failure policy: an Accept error other than "closed" (out of file descriptors,
// mostly) is logged and retried with a growing pause, so that a server under
// attack comes back by itself.
package listen
