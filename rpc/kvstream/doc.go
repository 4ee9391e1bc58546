// Package kvstream serves raft-kv's native service (raftkv.v1.Native): what
// the etcd API has no call for. Today that is a write that says how many
// members hold it, the append, a status with roles and members, and the rewrite
// of a member's files.
//
// What it does not do: pipelining and client sessions are not part of it yet;
// reads go through the etcd services.
//
// Guarantees
//
//  1. A write passes the same validation, bounds and authorisation as the etcd
//     services' (package request), and its command is one they would propose
//     too, but for Append.
//  2. Counting holders happens after the commit and cannot fail the write:
//     when the count cannot be learnt it is answered as 0 of 0.
//  3. Status needs no quorum and no leader.
//
// A rewrite runs on a goroutine of its own, which its call waits for. There are
// no other goroutines, no locks, no retries; errors pass the one table (rpcerr).
package kvstream
