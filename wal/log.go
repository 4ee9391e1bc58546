package wal

import (
	"fmt"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Log is the durable raft log of one member. Reading methods may be called at
// any time; writing methods by one goroutine at a time.
type Log struct {
	segments Segments
	budget   budget

	// What InitialState returns, never changed.
	initial *raftpb.HardState
	conf    *raftpb.ConfState

	// Owned by the caller of the writing methods.

	// state is the hard state saved last; never changed in place.
	state *raftpb.HardState
	// released is the index of the newest snapshot record: a restart now would
	// start behind it.
	released uint64
	// failed is the first error of a writing method, final (invariant 6).
	failed error

	mu struct {
		sync.RWMutex
		tail tail
	}
}

// InitialState returns the hard state that was recovered and the ConfState of
// the state machine.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return proto.Clone(l.initial).(*raftpb.HardState), proto.Clone(l.conf).(*raftpb.ConfState), nil
}

// Entries returns entries [lo, hi), as many as maxBytes hold and at least one.
func (l *Log) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.tail.slice(lo, hi, maxBytes)
}

// Term returns the term of entry i, FirstIndex()-1 <= i <= LastIndex().
func (l *Log) Term(i uint64) (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.tail.term(i)
}

// FirstIndex returns the index of the first entry that can be read.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.tail.first(), nil
}

// LastIndex returns the index of the last entry.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.tail.last(), nil
}

// SyncHoldsProcessor says whether a processor waits for the disk with each sync:
// Options.SyncAside was not set, was not possible when the log was opened, or has
// failed since; then it stays so.
func (l *Log) SyncHoldsProcessor() bool {
	onDisk, ok := l.segments.(*files)
	return ok && onDisk.holds.Load()
}

// Stats describes a log.
type Stats struct {
	FirstIndex, LastIndex uint64
	MemoryBytes           uint64
	DiskBytes             int64
}

// Stats returns the current numbers. It may be called at any time before Close.
func (l *Log) Stats() (Stats, error) {
	disk, err := l.segments.Bytes()
	if err != nil {
		return Stats{}, fmt.Errorf("wal: measure the segments: %w", err)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := &l.mu.tail
	return Stats{FirstIndex: t.first(), LastIndex: t.last(), MemoryBytes: t.bytes, DiskBytes: disk}, nil
}

// Append makes hs (nil: unchanged) and entries durable with at most one fsync,
// and then makes the entries readable. Entries from the first index given on
// are replaced.
func (l *Log) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	if l.failed != nil {
		return l.failed
	}
	next := l.successor(hs)
	if len(entries) == 0 && proto.Equal(next, l.state) {
		return nil
	}
	if err := l.check(&l.mu.tail, next, entries); err != nil {
		return l.fail("append", err)
	}
	// The hard state goes with every write, changed or not: it ends the write,
	// which is how the reader tells a write that was synced (synced.go).
	if err := l.segments.Save(next, entries); err != nil {
		return l.fail("append", err)
	}
	l.state = next
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.tail.append(entries)
	return nil
}

// Reset restarts the log behind a snapshot that the state machine has installed
// durably, and that lies beyond the commit index. raft installs one only where
// the log does not match it; if it did, entries behind it could come back after
// a crash, as the uncommitted entries that they were.
//
// A crash between its steps is recovered from the state machine: it is
// beyond the log or contradicts it (replay.finish).
func (l *Log) Reset(meta *raftpb.SnapshotMetadata, hs *raftpb.HardState, entries []*raftpb.Entry) error {
	if l.failed != nil {
		return l.failed
	}
	if meta.GetIndex() <= l.state.GetCommit() {
		return l.fail("reset", broken("snapshot %d is not beyond the commit index %d", meta.GetIndex(), l.state.GetCommit()))
	}
	next := l.successor(hs)
	next.Commit = new(max(next.GetCommit(), meta.GetIndex()))
	empty := tail{base: idOf(meta)}
	if err := l.check(&empty, next, entries); err != nil {
		return l.fail("reset", err)
	}
	// The record first: where it does not match the entries before it, replay
	// restarts the log at it, so that no entry of the old log is ever taken for
	// the successor of the snapshot (findings: 6@2 behind 5@4).
	if err := l.segments.SaveSnapshot(cloneMeta(meta)); err != nil {
		return l.fail("reset", err)
	}
	if err := l.segments.Save(next, entries); err != nil {
		return l.fail("reset", err)
	}
	// Save does not sync a change of the commit index alone.
	if err := l.segments.Sync(); err != nil {
		return l.fail("reset", err)
	}
	l.state, l.released = next, meta.GetIndex()
	empty.append(entries)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.tail = empty
	return nil
}

// Release gives memory and disk space back. durable is what the state machine
// would recover to now; entries above unneeded stay in memory.
func (l *Log) Release(durable *raftpb.SnapshotMetadata, unneeded uint64) error {
	if l.failed != nil {
		return l.failed
	}
	l.mu.Lock()
	l.mu.tail.shrink(l.budget, unneeded)
	base := l.mu.tail.base
	l.mu.Unlock()

	// On disk the log keeps what it keeps in memory, so that a follower that
	// was only a little behind is still served from it after a restart, and
	// never starts beyond the durable applied index (invariant 2).
	start := base
	if durable.GetIndex() < start.index {
		start = idOf(durable)
	}
	if start.index <= l.released {
		return nil
	}
	// Also when no segment can go yet: recovery keeps in memory what lies behind
	// the newest record.
	return l.release(start, durable.GetConfState())
}

// release moves the start of the log on disk. The order matters: the record
// must be durable before the segments it makes superfluous go away.
func (l *Log) release(start entryID, conf *raftpb.ConfState) error {
	// etcd's readers ignore a snapshot record beyond the saved commit index, so
	// the hard state goes first. What is released is applied, hence committed.
	next := newState(l.state.GetTerm(), l.state.GetVote(), max(l.state.GetCommit(), start.index))
	if err := l.segments.Save(next, nil); err != nil {
		return l.fail("release", err)
	}
	l.state = next
	// The record must have a ConfState; that of the durable index may be newer
	// than the record. Recovery takes the one of the state machine.
	meta := &raftpb.SnapshotMetadata{Index: new(start.index), Term: new(start.term), ConfState: conf}
	if err := l.segments.SaveSnapshot(cloneMeta(meta)); err != nil {
		return l.fail("release", err)
	}
	l.released = start.index
	if !l.segments.Reclaimable(start.index) {
		return nil
	}
	if err := l.segments.Release(start.index); err != nil {
		return l.fail("release", err)
	}
	return nil
}

// Close releases files and locks. Nothing is lost by not calling it.
func (l *Log) Close() error {
	if l.failed == nil {
		l.failed = ErrClosed
	}
	return l.segments.Close()
}

// successor returns the hard state that a write with hs leads to. Release and
// recovery may have saved a higher commit index than raft knew of; it is never
// taken back.
func (l *Log) successor(hs *raftpb.HardState) *raftpb.HardState {
	if hs == nil {
		hs = l.state
	}
	return newState(hs.GetTerm(), hs.GetVote(), max(hs.GetCommit(), l.state.GetCommit()))
}

// check refuses what recovery would refuse (G6). t is read without the lock:
// only the caller of the writing methods changes it.
func (l *Log) check(t *tail, next *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := checkState(l.state, next); err != nil {
		return err
	}
	if err := checkEntries(t, l.state.GetCommit(), entries); err != nil {
		return err
	}
	last := t.last()
	if n := len(entries); n > 0 {
		last = entries[n-1].GetIndex()
	}
	if next.GetCommit() > last {
		return broken("commit index %d is beyond the last entry %d", next.GetCommit(), last)
	}
	return nil
}

func (l *Log) fail(doing string, err error) error {
	l.failed = fmt.Errorf("wal: %s: %w", doing, err)
	return l.failed
}
