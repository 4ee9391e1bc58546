// Package lease is the replicated half of leases: which there are, how long
// they live, and which keys are attached to them.
//
//	leases     id           -> time to live, what is left of it
//	lease keys id, user key -> nothing
//
// It deliberately has no clock: it neither counts time down nor decides that a
// lease expired. The leader does (server/lessor) and replicates what it decides.
//
// # Invariants
//
//  1. A key is in the table of lease keys exactly when its newest version
//     carries that lease: package mvcc tells every change of it.
//  2. A Table reads what was committed before it was started, overlaid by what
//     was done since.
//  3. Nothing but what the open batch did is kept in memory, so that a million
//     leases, or of keys of one lease, cost disk and not memory.
//  4. No result depends on map order, a clock or how changes were batched
//     (invariant 4 of the design).
//
// # Goroutines and locks
//
// None. A Table belongs to Apply.
//
// # Failure policy
//
// A record that cannot be decoded is ErrCorrupt: the database is damaged, and
// the caller must stop.
package lease
