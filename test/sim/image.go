package sim

import (
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/wal"
	"raftkv/wal/crashlog"
)

// image follows what a power cut at this moment would leave of a log. It sits
// between the log and the disk and takes the disk's word on what is synced.
type image struct {
	wal.Segments
	disk *crashlog.Disk
	// pending are the records written behind the last sync.
	pending []wal.Record
	syncs   int

	// What is durable: the terms of the entries behind base, and the newest
	// hard state.
	base, last uint64
	terms      map[uint64]uint64
	state      *raftpb.HardState
}

func newImage(disk *crashlog.Disk, inner wal.Segments) *image {
	return &image{Segments: inner, disk: disk, syncs: disk.Syncs(), terms: map[uint64]uint64{}}
}

// Replay implements wal.Segments. What is read need not be durable yet.
func (i *image) Replay(visit func(wal.Record) error) error {
	i.pending, i.base, i.last, i.state = nil, 0, 0, nil
	clear(i.terms)
	return i.Segments.Replay(func(r wal.Record) error {
		i.pending = append(i.pending, r)
		return visit(r)
	})
}

// Resume implements wal.Segments. It makes durable what was read.
func (i *image) Resume(start *raftpb.SnapshotMetadata) error {
	err := i.Segments.Resume(start)
	i.settle(err)
	return err
}

// Save implements wal.Segments.
func (i *image) Save(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	err := i.Segments.Save(hs, entries)
	for _, e := range entries {
		i.pending = append(i.pending, wal.Record{Entry: e})
	}
	if hs != nil {
		i.pending = append(i.pending, wal.Record{State: hs})
	}
	i.settle(err)
	return err
}

// SaveSnapshot implements wal.Segments.
func (i *image) SaveSnapshot(meta *raftpb.SnapshotMetadata) error {
	err := i.Segments.SaveSnapshot(meta)
	i.pending = append(i.pending, wal.Record{Snapshot: meta})
	i.settle(err)
	return err
}

// Sync implements wal.Segments.
func (i *image) Sync() error {
	err := i.Segments.Sync()
	i.settle(err)
	return err
}

// settle moves what has become durable.
func (i *image) settle(err error) {
	if err != nil || i.disk.Syncs() == i.syncs {
		return
	}
	i.syncs = i.disk.Syncs()
	for _, r := range i.pending {
		switch {
		case r.Entry != nil:
			i.entry(r.Entry)
		case r.State != nil:
			i.state = r.State
		case r.Snapshot != nil:
			i.snapshot(r.Snapshot)
		}
	}
	i.pending = i.pending[:0]
}

func (i *image) entry(e *raftpb.Entry) {
	index := e.GetIndex()
	for n := index + 1; n <= i.last; n++ {
		delete(i.terms, n)
	}
	if i.last == 0 {
		i.base = index - 1
	}
	i.terms[index], i.last = e.GetTerm(), index
}

// snapshot follows wal: a record that names an entry keeps what is behind it,
// one before the oldest entry allowed segments to go that are gone, and one
// beyond the commit index restarts the log.
func (i *image) snapshot(meta *raftpb.SnapshotMetadata) {
	index := meta.GetIndex()
	if _, known := i.terms[index]; !known && i.last != 0 && index == i.base {
		i.terms[index] = meta.GetTerm()
	}
	switch {
	case i.holds(index, meta.GetTerm()):
		for n := i.base; n < index; n++ {
			delete(i.terms, n)
		}
		i.base = index
	case i.last == 0 || index > i.state.GetCommit():
		clear(i.terms)
		i.terms[index] = meta.GetTerm()
		i.base, i.last = index, index
	}
}

// holds says whether entry index of the given term is durable.
func (i *image) holds(index, term uint64) bool {
	got, ok := i.terms[index]
	return ok && got == term
}
