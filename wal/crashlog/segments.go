package crashlog

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/wal"
)

// segments are the wal.Segments of one process.
type segments struct {
	disk    *Disk
	writing bool
	failed  error
	// last is the index of the last entry or snapshot record written, or the
	// last entry read; state the hard state given last, by reference. Names as
	// in etcd: enti, state.
	last  uint64
	state *raftpb.HardState
}

// Replay visits everything that can be read, synced or not.
func (s *segments) Replay(visit func(wal.Record) error) error {
	if err := s.alive(false); err != nil {
		return err
	}
	for i, segment := range s.disk.segments {
		for j, r := range segment.records {
			if r.Metadata != nil && i > 0 {
				continue
			}
			r.State, r.Snapshot = proto.CloneOf(r.State), proto.CloneOf(r.Snapshot)
			if err := visit(r); err != nil {
				return fmt.Errorf("segment %d (%d), record %d: %w", i, segment.index, j, err)
			}
		}
	}
	return nil
}

// Resume makes the log ready for writing, and durable what was read.
func (s *segments) Resume(start *raftpb.SnapshotMetadata) error {
	if err := s.alive(false); err != nil {
		return err
	}
	from := len(s.disk.segments) - 1
	for from >= 0 && s.disk.segments[from].index > start.GetIndex() {
		from--
	}
	if from < 0 {
		return fmt.Errorf("crashlog: no segment was begun before snapshot record %d", start.GetIndex())
	}
	found := false
	for _, segment := range s.disk.segments[from:] {
		for _, r := range segment.records {
			if r.Entry != nil {
				s.last = r.Entry.GetIndex()
			}
			if r.Snapshot != nil && r.Snapshot.GetIndex() == start.GetIndex() && r.Snapshot.GetTerm() == start.GetTerm() {
				found = true
			}
		}
	}
	if !found {
		return fmt.Errorf("crashlog: snapshot record %d is not in the segments that are read for it", start.GetIndex())
	}
	s.writing = true
	for _, segment := range s.disk.segments[max(0, len(s.disk.segments)-2):] {
		if err := s.sync(segment); err != nil {
			return err
		}
	}
	return nil
}

// Save writes entries, then hs.
func (s *segments) Save(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := s.alive(true); err != nil {
		return err
	}
	if raft.IsEmptyHardState(hs) && len(entries) == 0 {
		return nil
	}
	mustSync := raft.MustSync(hs, s.state, len(entries))
	for _, e := range entries {
		if err := s.write(wal.Record{Entry: e}); err != nil {
			return err
		}
		s.last = e.GetIndex()
	}
	if !raft.IsEmptyHardState(hs) {
		s.state = hs
		if err := s.write(wal.Record{State: hs}); err != nil {
			return err
		}
	}
	if s.tail().bytes >= s.disk.segmentBytes {
		return s.cut()
	}
	if mustSync {
		return s.Sync()
	}
	return nil
}

// SaveSnapshot writes a snapshot record and syncs.
func (s *segments) SaveSnapshot(meta *raftpb.SnapshotMetadata) error {
	if err := s.alive(true); err != nil {
		return err
	}
	if meta.Index == nil || meta.Term == nil || meta.ConfState == nil {
		return errors.New("crashlog: a snapshot record lacks its index, term or ConfState")
	}
	if err := s.write(wal.Record{Snapshot: meta}); err != nil {
		return err
	}
	s.last = max(s.last, meta.GetIndex())
	return s.Sync()
}

// Sync makes everything written durable.
func (s *segments) Sync() error {
	return s.sync(s.tail())
}

func (s *segments) sync(segment *segment) error {
	return s.step(StepSync, func() {
		s.disk.syncs++
		segment.written, segment.synced = len(segment.records), len(segment.records)
	})
}

// cut begins a new segment. Neither what was written before nor the head is
// durable then; both are at the end.
func (s *segments) cut() error {
	ended := s.tail()
	if err := s.step(StepCut, func() {
		ended.written = len(ended.records)
		next := &segment{index: s.last + 1}
		s.disk.put(next, wal.Record{Metadata: s.disk.metadata})
		if !raft.IsEmptyHardState(s.state) {
			s.disk.put(next, wal.Record{State: s.state})
		}
		next.head, next.written = len(next.records), len(next.records)
		s.disk.segments = append(s.disk.segments, next)
	}); err != nil {
		return err
	}
	if err := s.sync(ended); err != nil {
		return err
	}
	return s.sync(s.tail())
}

// Reclaimable says whether Release would remove a segment.
func (s *segments) Reclaimable(index uint64) bool { return s.superfluous(index) > 0 }

// Release removes the segments that are not needed behind snapshot record index.
func (s *segments) Release(index uint64) error {
	if err := s.alive(true); err != nil {
		return err
	}
	for range s.superfluous(index) {
		if err := s.step(StepRemove, func() {
			s.disk.bytes.Add(-int64(s.disk.segments[0].bytes))
			s.disk.segments = s.disk.segments[1:]
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *segments) superfluous(index uint64) int {
	for i, segment := range s.disk.segments {
		if segment.index >= index {
			return max(i-1, 0)
		}
	}
	return len(s.disk.segments) - 1
}

// Bytes returns the size of all segments.
func (s *segments) Bytes() (int64, error) { return s.disk.bytes.Load(), nil }

// Close syncs and lets others open the log.
func (s *segments) Close() error {
	if s.disk.open != s {
		return nil
	}
	var err error
	if s.writing && s.failed == nil {
		err = s.Sync()
	}
	s.disk.open = nil
	return err
}

func (s *segments) tail() *segment { return s.disk.segments[len(s.disk.segments)-1] }

func (s *segments) write(r wal.Record) error {
	return s.step(StepWrite, func() { s.disk.put(s.tail(), r) })
}

// step takes one step unless the process is gone or the step fails.
func (s *segments) step(kind Step, do func()) error {
	if err := s.alive(true); err != nil {
		return err
	}
	if s.disk.OnStep != nil {
		if err := s.disk.OnStep(kind); err != nil {
			s.failed = err
			return err
		}
	}
	do()
	return nil
}

func (s *segments) alive(writing bool) error {
	switch {
	case s.disk.open != s:
		return ErrGone
	case s.failed != nil:
		return s.failed
	case s.writing != writing:
		return errors.New("crashlog: written before Resume, or read after it")
	}
	return nil
}
