// Package server runs one member: it opens the data directory, wires log, state
// machine, snapshots, peers, node and client services to each other, and takes
// them down in the opposite order. It is the only package that knows all rooms,
// and the API for programs that embed a member.
//
// What it does not do: decide anything about raft (node), about keys (state
// machine) or about requests (rpc). Where code here is more than wiring it is
// about being a member at all: whether the directory is the right one
// (identity), whether the member is new and who may talk (membership.go), telling
// the cluster its name and URLs (publish.go).
//
// # Invariants
//
//   - Ports are bound before the data directory is touched, so that a second
//     process with the same flags changes nothing.
//   - The node starts only in a directory that is complete, and a directory
//     becomes complete only when the member is confirmed as new (invariant 11).
//   - A failure of any room stops the whole member, which says why (invariant 6).
//
// # Goroutines and locks
//
// Start returns once the ports serve. One goroutine then brings the member up
// (confirmation, node, publication) and waits for the node to end; one per port
// and protocol serves; one delivers events. Stop waits for all of them, unless
// a room has failed in a way that never ends. The node is published
// through an atomic pointer; requests that come before it is there are refused
// as having no leader.
package server
