// Package wal is the durable raft log of one member: the entries and the hard
// state that raft must find again after a crash.
//
// A Log is an in-memory tail, which serves every read, above Segments, which
// keep the same records durably. The files of Segments are written by etcd's
// WAL package (files.go). It syncs them, too, unless the kernel can do that while
// no processor is held (aside.go, package ring). They are read back by a stricter
// reader of our own (frame.go, scan.go), because recovery must know where a
// record lies, in which order snapshot records and entries were written, and
// whether a broken record can have been torn. Package crashlog has Segments in
// memory that forget what was not synced; everything above Segments is the same
// code there.
//
// The package does not decide when to flush the state machine, does not make
// snapshots, does not merge writes, and does not read entries back from disk
// once the tail has dropped them: whoever needs those needs a snapshot.
//
// # Guarantees
//
//	G1  What Append or Reset returned for survives a crash: entries, term, vote
//	    (invariant 1). Entries become readable only after their fsync.
//	G2  A recovered log is what was acknowledged, or that with a prefix of the
//	    one write that was under way.
//	G3  On disk the log never starts beyond the durable applied index of the
//	    state machine (invariant 2); in memory never beyond the applied one.
//	G4  The recovered commit index is at least the applied index and at most the
//	    last index, the recovered term at least that of the last entry.
//	G5  A torn tail is cut off, and a segment removed that was begun by the write
//	    that was under way (unfinished.go). Damage that no torn write can have caused, or
//	    that later records prove to have been synced once, is refused with file
//	    and offset, and nothing on disk is changed.
//	G6  Append refuses what recovery would refuse (rules.go).
//	G7  Formats carry a version and the log names its member: another version,
//	    cluster or member is refused (invariants 10 and 11).
//
// # Goroutines and locks
//
// The package starts no goroutine; etcd's WAL runs one per open log, which
// allocates the next file, and Close waits for it. Log.mu guards the tail alone
// and is never held during I/O, so that reads go on while an fsync runs. Writing
// methods are called by one goroutine at a time; what they own is unguarded.
//
// # Failure
//
// The first error of a writing method is final (invariant 6): it is kept and
// returned by every later write. After a failed fsync nobody knows what is on
// disk, so neither retrying nor going on is safe; the node stops and recovery
// looks. Errors of Open say what to do about them.
package wal
