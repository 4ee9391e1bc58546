// Package request is what every client-facing service does with a request
// before and after the node sees it: admission, validation, bounds,
// authorisation, deadlines, encoding for the log, and the response header.
// The etcd services and the native service are thin because of it, and cannot
// drift apart.
//
// What it does not do: it speaks no transport, holds no state between
// requests, and neither reads nor writes the store except through [Backend].
//
// Guarantees
//
//  1. Validation answers with etcd's own errors (rpctypes), for the same
//     requests and in the same order of checks as etcd 3.7.
//
//  2. There is one authorisation point, Gate.allow: every operation passes it,
//     also those inside transactions and their nested ones, and what a request
//     reads besides what it writes (prev_kv, compares) (invariant 9). A request
//     type without a rule is refused.
//
//  3. A write is authorised before it is proposed and carries its identity, so
//     that Apply can refuse it when permissions changed meanwhile. A read is
//     authorised behind its read barrier, when the tables it is checked
//     against are as new as the data.
//
//  4. Every request ends: one without a deadline, or with a later one, gets
//     the server's request timeout.
//
//  5. A write whose deadline passed is answered "etcdserver: request timed
//     out", which means that its outcome is unknown; only an error that the
//     table knows (rpcerr) may promise more.
//
//  6. A write that makes the store grow is proposed only if Config.Space has
//     room for it; deletions and compactions always pass.
//
//  7. A client that demands a leader is refused where none is known, and its
//     streams end, with etcd's error, once none was known for three election
//     timeouts ([StreamGuard]).
//
// A Gate has no goroutines; its methods may be called concurrently. A
// StreamGuard has one, StreamGuard.Run, which its caller owns. Nothing here is
// retried: a failure is the caller's answer.
package request
