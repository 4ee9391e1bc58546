// Package engine keeps one Pebble database in a directory, and replaces it as
// a whole when a snapshot is installed.
//
// It deliberately knows nothing of what the database holds: no tables but the
// rule that keys pass keys.Check, no applied index, no revisions.
//
// The directory holds
//
//	LOCK        held while the store is open
//	CURRENT     format version and the name of the live database
//	db-000001/  a Pebble database, and others while one replaces another: tables
//	            with keys and small values, blob files with the other values
//
// CURRENT is switched by rename and directory fsync: that fsync is the commit
// point of a replacement. What CURRENT does not name is left over from an
// interruption and is removed by the next Open.
//
// # Invariants
//
//  1. Pebble's own WAL is off: raft's log is the write-ahead log. A batch is
//     durable when Flush returns, and what survives a crash is a prefix of the
//     batches committed.
//  2. A database is removed only after its last reader let go of it.
//  3. A failed write or fsync stops the store for good: OnFatal is told once,
//     and every later call returns the error (invariant 6 of the design).
//
// Pebble's flushes and compactions rest between writes while there is time
// (pacer), so that requests do not wait for a burst of them. Values stay where
// they were flushed, compactions move their keys (separation.go; ADR 8 of the
// project).
//
// # Goroutines and locks
//
// The package starts no goroutines. A Handle counts its readers; who lets go
// last closes a replaced database. Replace and Close are serialized by the
// caller; everything else may be called at any time.
//
// # Failure policy
//
// Pebble reports what it cannot continue after through Logger.Fatalf, and must
// not return from it. The goroutine that calls it is therefore parked for
// ever, the one exception to the rule that every goroutine ends: it may hold
// Pebble's locks, so the process has to end without closing the database.
// OnFatal runs on that goroutine; it must neither block nor call the store.
// A background error (a failed flush or compaction) stops the store in the same
// way, only that its goroutine goes on, and what it achieves is not used. Damage
// of a table stops it too, and that of a blob file: when it is opened (blobFS), or
// when whoever reads a value tells of it (Damaged).
package engine
