// Package h2 is a gRPC server for many small requests: HTTP/2 (RFC 9113), HPACK
// as far as answers need it, and the gRPC protocol on top (PROTOCOL-HTTP2.md in
// the gRPC repository), serving what grpc.ServiceDesc describes. Handlers see
// what they see under grpc.Server: metadata, peer, deadline, ServerStream.
//
// Why not grpc.Server: it took more than half of what a put costs its leader
// (docs/adr/0010). Here one goroutine reads a connection and parses requests
// where they lie in its buffer, a handler runs on a goroutine whose stack has
// grown already, and what handlers answer at the same time leaves in one write.
//
// What it does not do: it knows no service and makes no connection; it does not
// push, prioritize or trace; HTTP that is not gRPC gets 405 or 415. Compression
// is whatever is registered with google.golang.org/grpc/encoding.
//
// # Invariants
//
//  1. A request is handed to its handler once, whole, or not at all.
//  2. Header blocks leave in the order in which they were encoded: both happen
//     under conn.mu, as the table of HPACK demands.
//  3. Nothing is sent beyond the windows of the client; what does not fit waits
//     in its handler.
//  4. The reader of a connection never writes to it: a client that does not read
//     cannot keep us from reading.
//  5. Every queue has a bound (below).
//  6. Stop and GracefulStop return after every handler has.
//
// # Queues
//
//	out       outBytesMax of a connection      full: messages wait; beyond outBytesLimit ends of requests do,
//	                                           and as much said by the reader alone ends the connection
//	messages  windowBytes of a stream          full: the client's window stays shut
//	handlers  Config.ConcurrentStreamsMax of a connection, reset ones included   full: REFUSED_STREAM
//	idle      workersIdleMax goroutines        full: the goroutine ends
//
// # Goroutines and locks
//
// One goroutine reads each connection. Whoever queues the first bytes writes
// them, and all that is queued meanwhile; it lets others run first while
// requests are in flight, so that their answers share the write, and after
// writeTurnsMax writes a goroutine goes on in its place. conn.mu guards
// streams, windows and what is to be written, and is not held while anything
// could wait. A stream's context has a lock of its own, taken last.
//
// # Failure policy
//
// What a client does wrong ends its stream or its connection with the code that
// RFC 9113 names, and nobody else's. A failed write ends the connection and the
// contexts of its streams. A panic of a handler ends the process. A handshake has
// greetTime, a client that is told to leave drainTime and then farewellTime.
package h2
