// Package mvcc is the versioned key space: every version of every key, read at
// any revision that is not compacted, and written one transaction at a time.
//
// It deliberately knows no requests of etcd's API (package kv) and no log, of
// leases only the ids that keys carry, and does not decide when old versions are removed: Sweep removes what
// a compaction made unreadable, a bounded piece at a time. Hasher computes etcd's
// hash of the key space from our records.
//
// Two tables hold it:
//
//	keys       user key, revision descending -> create revision, version, lease, value; or a tombstone
//	revisions  revision ascending            -> user key, or a run of neighbouring changes
//
// Where Pebble keeps a value apart from its key, the reference to it tells of a first
// version without a lease (Attribute), whose head needs no other look.
//
// A revision is (main, sub): a transaction that changes anything takes the next
// main revision, its changes count sub up from 0. An empty key space is at
// revision 1. Nothing is kept in memory but what the open Writer wrote, which it
// adds to its batch at the end, in the order of keys, a bounded number of heads of
// keys, and newest versions of keys that are read often (Hot).
//
// # Invariants
//
//  1. Main revisions are contiguous, and the key space at a revision never
//     changes while that revision is not compacted.
//  2. A Writer reads what was committed before it was started, overlaid by
//     everything it wrote, so that a batch of many transactions sees what the
//     same transactions would see one by one.
//  3. Every change is told to the Writer's Recorder, in order, and every change
//     of a key's lease to its Leases.
//  4. A version and its change in the revisions table are written together and
//     removed together; a read at or above the compacted revision sees the same
//     before, during and after a sweep. At or below the revision of the last sweep
//     every change has a record of its own, so that it can be removed alone.
//  5. No result depends on map order, a clock or how changes were batched
//     (invariant 4 of the design). Which changes share a record of the revisions
//     table does depend on that, and nothing depends on which do.
//  6. What Hot says of a key at a revision is what a Snapshot at that revision finds.
//     It is told of a change before any view shows it.
//
// # Goroutines and locks
//
// No goroutines. A Writer and a Snapshot belong to one goroutine at a time; any number
// of Snapshots may be open beside a Writer. Hot is used by all of them at once, and
// each of its shards has a lock, which is held for a look into a map.
//
// # Failure policy
//
// A record that cannot be decoded is ErrCorrupt: the database is damaged, and
// the caller must stop.
package mvcc
