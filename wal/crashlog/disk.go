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
	StepCut                // a new segment begins, durably
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
	segments     []*segment // oldest first; only the last has unsynced records
	open         *segments
	bytes        atomic.Int64
	syncs        int
}

// segment is one file: what is durable, then what is not.
type segment struct {
	index   uint64
	records []wal.Record
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
	first.synced = len(first.records)
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
// length pick chooses, as rand's IntN does: from 0 to n-1.
func (d *Disk) Crash(pick func(n int) int) {
	d.lose(pick)
	d.last(func(s *segment) { s.synced = len(s.records) })
}

// Kill ends the process that has the log open, as kill -9 does: what it had not
// handed to the operating system is lost, and the rest can be read again but is
// not durable yet.
func (d *Disk) Kill(pick func(n int) int) { d.lose(pick) }

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

func (d *Disk) lose(pick func(n int) int) {
	d.open = nil
	d.last(func(s *segment) {
		keep := s.synced + pick(len(s.records)-s.synced+1)
		for _, r := range s.records[keep:] {
			s.bytes -= recordBytes(r)
			d.bytes.Add(-int64(recordBytes(r)))
		}
		s.records = s.records[:keep]
	})
}

func (d *Disk) last(do func(*segment)) {
	if n := len(d.segments); n > 0 {
		do(d.segments[n-1])
	}
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
