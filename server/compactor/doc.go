// Package compactor makes compactions happen: Sweeper removes in the background
// what a replicated compaction made unreadable, Auto proposes compactions by
// itself, by time or by number of revisions.
//
// What can be read is decided by the replicated compacted revision alone; a
// sweep is each member's own affair and changes no answer. The package neither
// knows how versions are stored nor how a compaction is replicated: both are
// functions it is given.
//
// # Guarantees
//
//  1. A sweep goes on after a restart where it stopped, and pauses between
//     steps of a bounded size, so that neither applying nor reading waits.
//  2. Await returns nil only when everything up to its revision was removed.
//  3. Only the leader proposes compactions, of revisions that are as old as the
//     policy asks; every member remembers when which revision was the newest,
//     so that a new leader goes on without a gap.
//
// # Goroutines
//
// Run of each type is the one goroutine and ends with its context; its caller
// waits for it. Wake and Await may be called at any time.
//
// # Failure policy
//
// A step that fails means that the state is damaged or cannot be written:
// OnFatal is told, and the sweeper ends. A compaction that cannot be proposed is
// logged and tried again later.
package compactor
