// Package rpcerr is the one place that says which gRPC status an error of the
// lower rooms becomes. Services, the JSON gateway and the REST handlers all
// answer through the same [Table], so a client sees the same code and the same
// text whichever way it asked.
//
// What it does not do: it does not decide whether a write whose context ended
// has an unknown outcome (package request knows reads from writes), and it
// does not translate to HTTP (package web derives that from the gRPC code).
//
// Guarantees
//
//  1. An error that already carries a gRPC status passes unchanged.
//  2. A sentinel of the table is found through any depth of wrapping; of
//     several that match, the earliest pair decides.
//  3. Whatever is in no pair keeps its text and gets codes.Unknown, which is
//     what etcd does: nothing is hidden behind a generic message.
//
// A Table is immutable after New and needs no lock.
package rpcerr
