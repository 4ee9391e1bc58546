package crashlog

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/wal"
)

// ErrGone is returned to whoever goes on writing after Crash or Kill.
var ErrGone = errors.New("crashlog: the process that had the log open is gone")

// ErrLocked is returned by Open while the log is open.
var ErrLocked = errors.New("crashlog: the log is open already")

// Step is something a disk does at once: a crash falls before or after it.
type Step int

const (
	StepWrite  Step = iota // a record reaches the operating system
	StepSync               // what was written becomes durable
	StepCut                // a new segment begins with its head, not durably yet
	StepRemove             // the oldest segment goes away, durably
)

// Disk holds the segments of one log.
type Disk struct {
	// OnStep, if not nil, is called before each step; its error becomes that of
	// the operation, the step is not taken, and the log is dead until it is
	// reopened.
	OnStep func(Step) error

	metadata     []byte
	segmentBytes int
	segments     []*segment // oldest first; unsynced records are in the last two
	open         *segments
	bytes        atomic.Int64
	syncs        int
}

// segment is one file: what is durable, then what the operating system has, then
// what the process may have kept back.
type segment struct {
	index   uint64
	records []wal.Record
	head    int // how many of records it began with: a crash leaves all or nothing
	written int // how many of records the operating system is known to have
	synced  int // how many of records are durable
	bytes   int
}

// New returns an empty disk. segmentBytes is the size at which a segment ends.
func New(metadata wal.Metadata, segmentBytes int) *Disk {
	return &Disk{metadata: metadata.Encode(), segmentBytes: segmentBytes}
}

// Exists says whether a log was created.
func (d *Disk) Exists() bool { return len(d.segments) > 0 }

// Create creates the log of a member whose state machine starts at anchor, as a
// whole or, with an error, not at all.
func (d *Disk) Create(anchor *raftpb.SnapshotMetadata) error {
	if d.Exists() {
		return errors.New("crashlog: there is a log already")
	}
	first := &segment{}
	d.put(first, wal.Record{Metadata: d.metadata})
	d.put(first, wal.Record{Snapshot: &raftpb.SnapshotMetadata{Index: new(uint64(0)), Term: new(uint64(0))}})
	first.head, first.written, first.synced = len(first.records), len(first.records), len(first.records)
	d.segments = []*segment{first}
	d.open = &segments{disk: d, writing: true}
	err := errors.Join(wal.CreateOn(d.open, anchor), d.open.Close())
	if err != nil {
		d.segments = nil
		d.bytes.Store(0)
	}
	return err
}

// Open opens the log for a process.
func (d *Disk) Open() (wal.Segments, error) {
	if !d.Exists() {
		return nil, errors.New("crashlog: there is no log")
	}
	if d.open != nil {
		return nil, ErrLocked
	}
	d.open = &segments{disk: d}
	return d.open, nil
}

// Crash cuts the power: what was synced stays, with a prefix of the rest whose
// length pick chooses, as rand's IntN does: from 0 to n-1. A segment stays only if
// its head does and everything before it: recovery of files would remove it.
func (d *Disk) Crash(pick func(n int) int) {
	d.open = nil
	for i, s := range d.segments {
		records := len(s.records)
		d.cutOff(s, s.survives(pick))
		s.written, s.synced = len(s.records), len(s.records)
		if len(s.records) == records {
			continue
		}
		if len(s.records) > 0 {
			i++
		}
		for _, s := range d.segments[i:] {
			d.cutOff(s, 0)
		}
		d.segments = d.segments[:i]
		return
	}
}

// survives picks how many records a loss of power leaves.
func (s *segment) survives(pick func(n int) int) int {
	if s.synced > 0 {
		return s.synced + pick(len(s.records)-s.synced+1)
	}
	if more := pick(len(s.records) - s.head + 2); more > 0 {
		return s.head + more - 1
	}
	return 0
}

// Kill ends the process that has the log open, as kill -9 does: what it had not
// handed to the operating system is lost, and the rest can be read again but is
// not durable yet.
func (d *Disk) Kill(pick func(n int) int) {
	d.open = nil
	if n := len(d.segments); n > 0 {
		s := d.segments[n-1]
		d.cutOff(s, s.written+pick(len(s.records)-s.written+1))
		s.written = len(s.records)
	}
}

// Syncs returns how many syncs there were so far.
func (d *Disk) Syncs() int { return d.syncs }

// Segments returns how many segments there are.
func (d *Disk) Segments() int { return len(d.segments) }

// String lists all records, one segment a line; a bar is before the first that is
// not durable.
func (d *Disk) String() string {
	var b strings.Builder
	for _, s := range d.segments {
		fmt.Fprintf(&b, "segment %d:", s.index)
		for i, r := range s.records {
			if i == s.synced {
				b.WriteString(" |")
			}
			switch {
			case r.Entry != nil:
				fmt.Fprintf(&b, " %d/%d", r.Entry.GetIndex(), r.Entry.GetTerm())
			case r.State != nil:
				fmt.Fprintf(&b, " {term %d vote %d commit %d}", r.State.GetTerm(), r.State.GetVote(), r.State.GetCommit())
			case r.Snapshot != nil:
				fmt.Fprintf(&b, " [%d/%d]", r.Snapshot.GetIndex(), r.Snapshot.GetTerm())
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cutOff removes all records of a segment but the first.
func (d *Disk) cutOff(s *segment, keep int) {
	for _, r := range s.records[keep:] {
		s.bytes -= recordBytes(r)
		d.bytes.Add(-int64(recordBytes(r)))
	}
	s.records = s.records[:keep]
}

// put adds a record, with copies of what the writer might change later; entries
// never change.
func (d *Disk) put(s *segment, r wal.Record) {
	r.State, r.Snapshot = proto.CloneOf(r.State), proto.CloneOf(r.Snapshot)
	s.records = append(s.records, r)
	s.bytes += recordBytes(r)
	d.bytes.Add(int64(recordBytes(r)))
}

func recordBytes(r wal.Record) int {
	const frame = 24
	return frame + len(r.Metadata) + proto.Size(r.Entry) + proto.Size(r.State) + proto.Size(r.Snapshot)
}
