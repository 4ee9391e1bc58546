// Package crashlog fakes the segment files of a raft log in memory, for the
// simulator and for crash tests: a Disk outlives the process that writes to it
// and forgets what was not synced when the power goes.
//
// It repeats what etcd's WAL package does wherever that matters to a log above
// it, the surprises included:
//
//  1. Save syncs only for entries, a new term or a new vote, and compares with
//     the hard state it was given last, by reference.
//  2. After reopening it does not know the hard state; a segment begun before
//     the next Save has none at its head.
//  3. A segment is named after the entry expected next, counted from the last
//     entry or snapshot record written, or after reopening from the last entry
//     read. It is opened at the last one whose name is not beyond the snapshot
//     record, which must be found there or later.
//  4. Release removes the oldest segments one by one.
//
// It does not fake bytes: a crash keeps a prefix of the unsynced records, never
// half of one. Torn and damaged bytes are the business of the tests of package
// wal with real files.
//
// A Disk starts no goroutine and has no lock; everything happens on the caller's
// goroutine. Bytes alone may be called from elsewhere.
package crashlog
