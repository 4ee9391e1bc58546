package wal

import (
	"go.etcd.io/raft/v3/raftpb"
)

// Record is one record of a log; exactly one field is set.
type Record struct {
	// Metadata are the encoded metadata, the first record of every segment.
	Metadata []byte
	Entry    *raftpb.Entry
	State    *raftpb.HardState
	// Snapshot says that the state machine was durable up to this position
	// when the record was written.
	Snapshot *raftpb.SnapshotMetadata
}

// Segments keep the records of a log durably, in the order written, in segments
// of which the oldest can be given back. A Segments is first read (Replay, then
// Resume) and then written; new ones are only written. No two methods are called
// at once, except Bytes, which may be called at any time before Close returns.
//
// Every error of a writing method is final.
type Segments interface {
	// Replay calls visit with every record from the oldest on, and changes
	// nothing. An error of visit ends it and is returned, wrapped.
	Replay(visit func(Record) error) error
	// Resume makes the segments ready for writing. start is the newest snapshot
	// record, of those visited, behind which the log starts. What a torn write
	// left behind the last record is removed, and what was read survives a crash
	// from then on.
	Resume(start *raftpb.SnapshotMetadata) error

	// Save writes entries, then hs. It syncs if there are entries or if the term
	// or the vote differs from those of the hs saved before. hs is kept by
	// reference: it must be a fresh value that nobody changes.
	Save(hs *raftpb.HardState, entries []*raftpb.Entry) error
	// SaveSnapshot writes a snapshot record and syncs everything.
	SaveSnapshot(meta *raftpb.SnapshotMetadata) error
	// Sync makes everything saved durable.
	Sync() error
	// Reclaimable says whether Release(index) would give a segment back. It may
	// be late in noticing so.
	Reclaimable(index uint64) bool
	// Release gives back segments that are not needed to start behind the
	// snapshot record at index, which was saved before.
	Release(index uint64) error

	// Bytes returns what the segments take on disk.
	Bytes() (int64, error)
	Close() error
}
