// Package kv gives etcd's key-value requests their meaning on top of package
// mvcc: put, append, range, delete range, transaction, compaction.
//
// The meaning is that of etcd 3.7, including what its documentation leaves
// open; where the two could differ the code says so. The package deliberately
// does not bound requests (the handlers do), of leases asks only whether one
// exists (package lease has them), and does not authorise.
//
// # Invariants
//
//  1. Results and effects are a function of the request and the key space
//     (invariant 4 of the design): the writing functions run inside Apply.
//
//  2. A request that is refused has changed nothing: all checks come before
//     the first change. Any other error is fatal to the state machine.
//
//  3. A request, however it got into the log, never panics: empty keys, empty
//     unions and missing messages have a defined result.
//
//  4. The count of a limited range is that of all keys in it. It is counted
//     without reading values, and remembered in Counts, so that later pages of a
//     listing cost their own keys only.
//
// # Goroutines and locks
//
// No goroutines. The caller owns the mvcc.Writer or mvcc.Snapshot it passes;
// Counts has a lock and is shared by all reads of one database.
package kv
