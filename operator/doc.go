// Package operator is the offline work on data directories and snapshot files:
// a directory made from a snapshot file or from etcd's database, what a
// directory holds and whether it is whole, and a cluster of one member made of
// what one directory has left.
//
// It deliberately does not run members and talks to nobody. It asks no
// questions: the commands do that.
//
// # Invariants
//
//  1. A data directory comes into being by one rename, behind everything that
//     was made durable before: state, log, and at last the identity. A crash
//     leaves member.partial, which no member starts on and the next run removes.
//  2. What was read is verified before anything is written from it.
//  3. Nothing that was there is changed or deleted: a directory that is not
//     empty is refused, and a recovery keeps what it started from.
//  4. A new cluster has ids that no other cluster had, so that members of the
//     one it was made from and its own never take each other for their own
//     (invariant 11 of the design). Members made from the same file with the
//     same cluster list are members of the same cluster, in the same state.
//
// # Goroutines and locks
//
// None. The lock of a data directory is held while it is read, so that no member
// runs on it.
//
// # Failure policy
//
// Errors say which file, where, and what to do; after one, invariant 1 holds.
package operator
