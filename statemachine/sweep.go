package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// sweepRecord says how far this member has removed what compactions made
// unreadable. It is no part of the replicated state: when and how far a member
// sweeps is its own affair, and what can be read is up to the compacted
// revision alone. It travels in snapshots, since it describes their tables.
type sweepRecord struct {
	// swept is the revision of the last complete sweep, target that of the one
	// under way, which goes on at next; without one they are equal.
	swept, target int64
	next          keys.Revision
	// removed is the size of all records ever removed.
	removed int64
}

const sweepRecordLen = 5 * 8

func (s *sweepRecord) encode() []byte {
	b := make([]byte, 0, sweepRecordLen)
	for _, v := range []uint64{uint64(s.swept), uint64(s.target), uint64(s.next.Main), uint64(s.next.Sub), uint64(s.removed)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeSweepRecord(b []byte) (s sweepRecord, err error) {
	if len(b) != sweepRecordLen {
		return s, fmt.Errorf("%w: record %q has %d bytes", ErrForeignState, metaSwept, len(b))
	}
	field := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return sweepRecord{swept: field(0), target: field(1),
		next: keys.Revision{Main: field(2), Sub: uint32(field(3))}, removed: field(4)}, nil
}

// sweepState is the sweep record of one database, in memory. SweepStep alone
// changes it.
type sweepState struct {
	record sweepRecord // belongs to SweepStep
	// What others may ask at any time.
	swept, target, removed atomic.Int64
}

func newSweepState(r sweepRecord) *sweepState {
	s := &sweepState{}
	s.set(r)
	return s
}

func (s *sweepState) set(r sweepRecord) {
	s.record = r
	s.removed.Store(r.removed)
	s.target.Store(r.target)
	s.swept.Store(r.swept)
}

// compaction is one that Apply has seen: everything below revision became
// unreadable; before it, that was previous.
type compaction struct{ previous, revision int64 }

// compactions are what is known in memory of recent compactions.
type compactions struct {
	mu sync.Mutex
	// pending are not swept yet, in order.
	pending []compaction
	// hashes are those of the newest compactions, computed before their sweep.
	hashes []KVHash
}

const (
	// pendingMax bounds pending: the hash of one that is dropped is not kept.
	pendingMax = 64
	// hashesMax is as many as etcd keeps.
	hashesMax = 10
)

func (c *compactions) add(list []compaction) {
	if len(list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, list...)
	c.pending = slices.Clone(c.pending[max(0, len(c.pending)-pendingMax):])
	// The hashes to come displace the oldest, no matter when they come. That of
	// the compaction that is being swept may be here already.
	toCome := len(c.pending)
	if n := len(c.hashes); n > 0 {
		last := c.hashes[n-1].HashRevision
		toCome = len(slices.DeleteFunc(slices.Clone(c.pending), func(p compaction) bool { return p.revision <= last }))
	}
	c.hashes = c.hashes[min(len(c.hashes), max(0, len(c.hashes)+toCome-hashesMax)):]
}

// next returns the oldest compaction that is visible to readers and not swept.
func (c *compactions) next(swept, compacted int64) (compaction, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = slices.DeleteFunc(c.pending, func(p compaction) bool { return p.revision <= swept })
	if len(c.pending) == 0 || c.pending[0].revision > compacted {
		return compaction{}, false
	}
	return c.pending[0], true
}

// sweep is one under way.
type sweep struct {
	state *sweepState // of the database it works on
	pass  mvcc.Sweep
	// hasher computes the hash of the compaction before anything is removed, so
	// that it can be asked for at any time; nil when that is done, or is
	// impossible since something was removed.
	hasher *mvcc.Hasher
	report SweepReport
}

// SweepReport describes a complete sweep.
type SweepReport struct {
	// Revision is the compacted revision that was swept.
	Revision int64
	// Versions is how many versions were removed since this process began with
	// it, Bytes their size.
	Versions int
	Bytes    int64
	// Hash is the hash of the key space, if HashKnown.
	Hash      uint32
	HashKnown bool
}

// SweepStep does the next piece of removing what compactions made unreadable:
// it looks at up to limit changes. It reports whether more is to do, and each
// complete sweep once. Its callers take turns; everything else may run beside
// it.
//
// An error other than ErrClosed is fatal: what is on disk is not what was
// written, or the disk fails.
func (m *Machine) SweepStep(limit int) (more bool, complete *SweepReport, err error) {
	v, err := m.acquireView()
	if errors.Is(err, ErrNotInitialized) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	defer v.handle.Release()
	if m.sweep == nil || m.sweep.state != v.sweep {
		if m.sweep = m.beginSweep(v); m.sweep == nil {
			return false, nil, nil
		}
	}
	s := m.sweep
	snapshot := v.handle.DB().NewSnapshot()
	if s.hasher != nil {
		err = m.hashStep(s, snapshot, limit)
	} else {
		complete, err = m.removeStep(v, snapshot, limit)
	}
	if err := errors.Join(err, snapshot.Close()); err != nil {
		return false, nil, fmt.Errorf("removing compacted revisions: %w", err)
	}
	return true, complete, nil
}

// beginSweep goes on with an interrupted sweep, or begins the next; nil if
// there is nothing to do.
func (m *Machine) beginSweep(v *view) *sweep {
	r := v.sweep.record
	s := &sweep{state: v.sweep, pass: mvcc.Sweep{Since: r.swept, Target: r.target, Next: r.next}}
	if r.target == r.swept {
		c, known := m.compactions.next(r.swept, v.compacted)
		switch {
		case known:
			s.pass.Target = c.revision
			if c.previous == r.swept {
				s.hasher = &mvcc.Hasher{Compacted: c.previous, Revision: c.revision, ForCompaction: true}
			}
		case v.compacted > r.swept:
			s.pass.Target = v.compacted
		default:
			return nil
		}
		s.pass.Next = s.pass.Start()
	}
	s.report.Revision = s.pass.Target
	return s
}

// hashStep computes the hash of a compaction, as far as limit allows.
func (m *Machine) hashStep(s *sweep, db pebble.Reader, limit int) error {
	done, err := s.hasher.Step(db, limit)
	if err != nil || !done {
		return err
	}
	s.report.Hash, s.report.HashKnown = s.hasher.Sum(), true
	m.compactions.keep(KVHash{Hash: s.hasher.Sum(), CompactRevision: s.hasher.Compacted, HashRevision: s.hasher.Revision})
	s.hasher = nil
	return nil
}

// removeStep removes records and moves the sweep record in one batch.
func (m *Machine) removeStep(v *view, db pebble.Reader, limit int) (complete *SweepReport, err error) {
	s := m.sweep
	batch, err := m.store.NewBatchFor(v.handle)
	if err != nil {
		return nil, err
	}
	// Whoever hashes must know before anything goes.
	s.state.target.Store(s.pass.Target)
	removed, done, err := s.pass.Step(db, batch, limit)
	record := sweepRecord{swept: s.pass.Since, target: s.pass.Target, next: s.pass.Next,
		removed: s.state.record.removed + removed.Bytes}
	if done {
		record.swept, record.next = record.target, keys.Revision{}
	}
	if err == nil {
		err = setSweepRecord(batch, record)
	}
	if err != nil {
		return nil, errors.Join(err, batch.Discard())
	}
	if err := batch.Commit(); err != nil {
		return nil, err
	}
	s.state.set(record)
	s.report.Versions += removed.Versions
	s.report.Bytes += removed.Bytes
	if !done {
		return nil, nil
	}
	m.sweep = nil
	return &s.report, nil
}

func setSweepRecord(b *engine.Batch, r sweepRecord) error {
	return b.Set(keys.Named(keys.Meta, metaSwept), r.encode())
}

// Swept returns the compacted revision up to which everything unreadable was
// removed, or -1.
func (m *Machine) Swept() int64 { return m.view.Load().sweep.swept.Load() }

// LiveBytes is the size of the key space with all its versions and of the
// leases, before
// compression: what was written less what was removed.
func (m *Machine) LiveBytes() int64 {
	v := m.view.Load()
	return v.written - v.sweep.removed.Load()
}
