// Package kvload makes load.Workload operations out of etcd's services: puts, gets,
// mixtures, ranges, listings, transactions, watches and leases over plain gRPC
// connections. It uses the generated client stubs and no client library, so that
// what is measured is the server and not the retries and balancing of a client;
// but for the optimistic transactions of etcd's library, whose requests are what
// is measured.
//
// It does no failover: a connection belongs to one member and stays with it. An
// operation that fails is handed to the caller as failed. TLS is not supported
// yet.
//
// # Invariants
//
//  1. A get is checked: it must return exactly the key asked for, or nothing if
//     an absent key was asked for. Anything else counts as a failure, so a
//     server cannot gain by answering wrongly.
//  2. Keys have one size and values are random bytes, which no storage engine
//     can compress.
//  3. The same seed gives every client the same sequence of keys.
//
// # Goroutines and locks
//
// Preload runs its own goroutines and waits for them. A Workload has no state
// that clients share but the connections and an immutable pool of bytes.
package kvload
