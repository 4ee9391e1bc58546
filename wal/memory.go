package wal

import (
	"go.etcd.io/raft/v3/raftpb"
)

// NewMemory returns an empty log behind anchor that keeps nothing durably. Its
// member forgets its votes when it stops: it must come back under another raft
// id (invariant 11).
func NewMemory(opts Options, anchor *raftpb.SnapshotMetadata) *Log {
	opts.EnsureDefaults()
	state := newState(anchor.GetTerm(), 0, anchor.GetIndex())
	l := &Log{
		segments: volatile{},
		budget:   opts.budget(),
		initial:  state,
		conf:     cloneMeta(anchor).GetConfState(),
		state:    state,
		released: anchor.GetIndex(),
	}
	l.mu.tail.restart(idOf(anchor))
	return l
}

// volatile are segments that keep nothing.
type volatile struct{}

func (volatile) Replay(func(Record) error) error               { return nil }
func (volatile) Resume(*raftpb.SnapshotMetadata) error         { return nil }
func (volatile) Save(*raftpb.HardState, []*raftpb.Entry) error { return nil }
func (volatile) SaveSnapshot(*raftpb.SnapshotMetadata) error   { return nil }
func (volatile) Sync() error                                   { return nil }
func (volatile) Reclaimable(uint64) bool                       { return false }
func (volatile) Release(uint64) error                          { return nil }
func (volatile) Bytes() (int64, error)                         { return 0, nil }
func (volatile) Close() error                                  { return nil }
