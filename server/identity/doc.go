// Package identity keeps what makes a data directory one member's and no
// other's: the ids of cluster and member, the incarnation of the directory, the
// count of its starts, and the incarnations of the other members it has met.
//
// A member that lost its directory has forgotten its votes and what it
// acknowledged. If it came back under its old id it could help to elect a
// leader that lacks acknowledged writes. So every directory gets a random
// incarnation when it is made, each member remembers for ever the first
// incarnation it met under an id, and a member with a new directory takes part
// only after a majority of the others has confirmed its incarnation. Any two
// such majorities share a member, and that member tells the second directory
// that the id is taken.
//
// What it does not do: decide who belongs to the cluster (the replicated
// members table does), talk to other members (rpc/peer does), or hold any
// state of raft.
//
// # Invariants
//
//   - A raft id is used by one life of one data directory only (invariant 11).
//   - An incarnation is durable in the ledger before it is confirmed to anybody.
//   - The boot count is durable before the first batch of that boot is proposed;
//     it names batches for ever.
//   - Files are replaced atomically: written aside, fsynced, renamed, directory
//     fsynced. They carry a format version; an unknown one is refused
//     (invariant 10).
//
// # Goroutines and locks
//
// Dir is used by one goroutine. Ledger has a mutex and may be used by many. A
// file lock keeps a second process out of the directory.
//
// # Failure
//
// Every error names the file and says what to do. A failed write or fsync is
// returned and never retried here; the caller stops.
package identity
