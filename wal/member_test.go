package wal_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/wal"
)

var errCrash = errors.New("the power went")

// position is an index with its term.
type position struct{ index, term uint64 }

func (p position) meta() *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: new(p.index), Term: new(p.term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}
}

// shadow is a log as it must be: entries behind a base, and a hard state.
type shadow struct {
	base    position
	entries []*raftpb.Entry
	state   *raftpb.HardState
}

func (s shadow) last() uint64 { return s.base.index + uint64(len(s.entries)) }

func (s shadow) term(i uint64) uint64 {
	if i == s.base.index {
		return s.base.term
	}
	return s.entries[i-s.base.index-1].GetTerm()
}

// with returns the log after entries were written to it.
func (s shadow) with(entries []*raftpb.Entry) shadow {
	if len(entries) > 0 {
		keep := entries[0].GetIndex() - s.base.index - 1
		s.entries = append(append([]*raftpb.Entry{}, s.entries[:keep]...), entries...)
	}
	return s
}

// disk is what a member has its log on.
type disk interface {
	create(anchor *raftpb.SnapshotMetadata) error
	open(state *raftpb.SnapshotMetadata) (*wal.Log, error)
	// die ends the process that has the log open, and with power also the
	// machine: then what was not synced may be lost.
	die(rng *rand.Rand, power bool)
	// unsynced says what of the log a loss of power could take; empty: nothing.
	unsynced() string
}

// member is one member under test: the disk with its log, a state machine, and
// what was acknowledged.
type member struct {
	t    *testing.T
	rng  *rand.Rand
	disk disk
	log  *wal.Log
	// stepsLeft of the disk until the crash; negative for none. Before an
	// operation it is less than stepsMost.
	stepsLeft, stepsMost int
	// dataBytes is what an entry may have at most, and largeBytes one in five.
	dataBytes, largeBytes int

	acked shadow
	// applied are the positions the state machine may recover to: the durable
	// one first, the applied one last.
	applied []position

	counts map[string]int
}

var crashOptions = wal.Options{MemoryBytes: 2500, Metadata: wal.Metadata{ClusterID: 7, MemberID: 3}}

// start creates the log of a member and opens it.
func (m *member) start() {
	first := position{1, 1}
	m.stepsLeft, m.counts = -1, map[string]int{}
	m.acked = shadow{base: first, state: hardState(1, 0, 1)}
	m.applied = []position{first}
	if err := m.disk.create(first.meta()); err != nil {
		m.t.Fatal(err)
	}
	m.reopen(m.acked, nil, nil)
}

// onStep has to be called by the disk before each step.
func (m *member) onStep() error {
	if m.stepsLeft == 0 {
		return errCrash
	}
	m.stepsLeft--
	return nil
}

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

// now returns where the state machine is.
func (m *member) now() position { return m.applied[len(m.applied)-1] }

// step does one random thing, possibly with a crash in the middle.
func (m *member) step() {
	if m.rng.IntN(5) < 2 {
		m.stepsLeft = m.rng.IntN(1 + m.rng.IntN(m.stepsMost)) // most operations take few steps
	}
	switch n := m.rng.IntN(100); {
	case n < 35:
		m.append()
	case n < 48:
		m.commit()
	case n < 58:
		m.apply()
	case n < 68:
		m.flush()
	case n < 90:
		m.release()
	case n < 94:
		m.reset()
	default:
		m.restart()
	}
	m.stepsLeft = -1
}

// nextState returns a hard state that raft could write next.
func (m *member) nextState(last, term uint64) *raftpb.HardState {
	s := m.acked.state
	next := hardState(max(s.GetTerm(), term), s.GetVote(), s.GetCommit())
	if next.GetTerm() > s.GetTerm() {
		next.Vote = new(uint64(0))
	}
	if next.GetVote() == 0 && m.rng.IntN(2) == 0 {
		next.Vote = new(1 + m.rng.Uint64N(3))
	}
	if m.rng.IntN(2) == 0 {
		next.Commit = new(next.GetCommit() + m.rng.Uint64N(last-next.GetCommit()+1))
	}
	return next
}

// batch returns entries from index `first` on, none of a term below `term`.
func (m *member) batch(first, term uint64, n int) []*raftpb.Entry {
	var entries []*raftpb.Entry
	for i := range n {
		size := m.dataBytes
		if m.rng.IntN(5) == 0 {
			size = m.largeBytes
		}
		data := make([]byte, m.rng.IntN(size))
		if m.rng.IntN(6) > 0 { // else it looks like what a lost write leaves
			for j := range data {
				data[j] = byte(m.rng.Uint32())
			}
		}
		entries = append(entries, &raftpb.Entry{Index: new(first + uint64(i)), Term: new(term), Data: data})
	}
	return entries
}

func (m *member) append() {
	term := m.acked.state.GetTerm() + m.rng.Uint64N(2)
	first := m.acked.last() + 1
	if commit := max(m.acked.state.GetCommit(), m.acked.base.index); m.rng.IntN(4) == 0 && term > m.acked.state.GetTerm() {
		first = commit + 1 + m.rng.Uint64N(m.acked.last()-commit+1)
		m.counts["replaced"] += int(m.acked.last() + 1 - first)
	}
	entries := m.batch(first, term, m.rng.IntN(5))
	var hs *raftpb.HardState
	next := m.acked.with(entries)
	if m.rng.IntN(4) > 0 || term > m.acked.state.GetTerm() {
		hs = m.nextState(next.last(), term)
		next.state = hs
	}
	if err := m.log.Append(proto.CloneOf(hs), entries); err != nil {
		m.crash(err, "append", m.acked, entries, next.state)
		return
	}
	m.acked = next
	m.check(m.acked)
}

// commit saves commit indexes alone, which are not synced unless they begin a
// segment, and then appends.
func (m *member) commit() {
	for range m.rng.IntN(20) {
		s := m.acked.state
		if s.GetCommit() == m.acked.last() {
			break
		}
		next := m.acked
		next.state = hardState(s.GetTerm(), s.GetVote(), s.GetCommit()+1)
		if err := m.log.Append(proto.CloneOf(next.state), nil); err != nil {
			m.crash(err, "commit", m.acked, nil, next.state)
			return
		}
		m.acked = next
	}
	m.append()
}

func (m *member) apply() {
	for i := m.now().index + 1; i <= m.acked.state.GetCommit() && m.rng.IntN(6) > 0; i++ {
		m.applied = append(m.applied, position{i, m.acked.term(i)})
	}
}

func (m *member) flush() { m.applied = m.applied[m.rng.IntN(len(m.applied)):] }

func (m *member) release() {
	unneeded := m.now().index - m.rng.Uint64N(3)
	if unneeded > m.now().index { // wrapped
		unneeded = 0
	}
	if err := m.log.Release(m.applied[0].meta(), unneeded); err != nil {
		m.crash(err, "release", m.acked, nil, m.acked.state)
		return
	}
	stats, err := m.log.Stats()
	if err != nil {
		m.t.Fatal(err)
	}
	if stats.MemoryBytes > crashOptions.MemoryBytes && stats.FirstIndex <= min(unneeded, stats.LastIndex) {
		m.t.Fatalf("%d bytes in memory from %d on, although nothing up to %d is needed", stats.MemoryBytes, stats.FirstIndex, unneeded)
	}
	m.check(m.acked)
}

func (m *member) reset() {
	commit := m.acked.state.GetCommit()
	at := position{commit + 1 + m.rng.Uint64N(m.acked.last()-commit+5), m.acked.state.GetTerm() + 1 + m.rng.Uint64N(2)}
	hs := hardState(at.term+m.rng.Uint64N(2), 0, at.index)
	entries := m.batch(at.index+1, at.term, m.rng.IntN(3))
	if m.rng.IntN(3) == 0 {
		hs.Commit = new(at.index + uint64(len(entries)))
	}
	// The state machine switches first: that is the commit point.
	m.applied = []position{at}
	before := shadow{base: at, state: m.acked.state}
	if err := m.log.Reset(at.meta(), proto.CloneOf(hs), entries); err != nil {
		m.crash(err, "reset", before, entries, hs)
		return
	}
	m.acked = before.with(entries)
	m.acked.state = hs
	m.check(m.acked)
}

// restart closes the log, or has the process die with nothing under way.
func (m *member) restart() {
	if m.rng.IntN(2) == 0 {
		if err := m.log.Close(); err != nil {
			m.crash(err, "close", m.acked, nil, m.acked.state)
			return
		}
	}
	m.counts["rest"]++
	m.die()
	m.reopen(m.acked, nil, nil)
}

// crash lets the member die and come back. before is what was acknowledged;
// entries and state were being written.
func (m *member) crash(err error, during string, before shadow, entries []*raftpb.Entry, state *raftpb.HardState) {
	m.t.Helper()
	if !errors.Is(err, errCrash) {
		m.t.Fatalf("%s: %v", during, err)
	}
	m.counts[during]++
	m.stepsLeft = -1 // a disk that works again does not make the error less final
	if again := m.log.Append(hardState(math.MaxUint32, 0, 0), nil); !errors.Is(again, errCrash) && !errors.Is(again, wal.ErrClosed) {
		m.t.Fatalf("the log goes on after %s failed: %v", during, again)
	}
	m.die()
	m.reopen(before, entries, state)
}

func (m *member) die() {
	m.counts["crashes"]++
	m.disk.die(m.rng, m.rng.IntN(2) == 0)
}
