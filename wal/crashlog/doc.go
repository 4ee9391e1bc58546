// Package crashlog fakes the segment files of a raft log in memory, for the
// simulator and for crash tests: a Disk outlives the process that writes to it
// and forgets what was not synced when the power goes.
//
// It repeats what etcd's WAL package does, synced aside as members have it,
// wherever that matters to a log above it, the surprises included:
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
//  5. A new segment is there with its head before the write that began it, or
//     the head, is durable. Then both are synced, one after the other, whether
//     that write wanted it or not.
//  6. Resume syncs the last two segments: a process that was killed between these
//     steps leaves both unsynced.
//
// It does not fake bytes: a loss of power keeps a prefix of the unsynced records,
// never half of one, and a segment with an unsynced head only if everything before
// it is kept. That is what recovery makes of the files; torn and damaged bytes,
// and the removal of such a segment, are the business of the tests of package wal
// with real files.
//
// A Disk starts no goroutine and has no lock; everything happens on the caller's
// goroutine. Bytes alone may be called from elsewhere.
package crashlog
