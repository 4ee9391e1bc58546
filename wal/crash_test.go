package wal_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/wal"
	"raftkv/wal/crashlog"
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

// member is one member under test: the disk with its log, a state machine, and
// what was acknowledged.
type member struct {
	t    *testing.T
	rng  *rand.Rand
	disk *crashlog.Disk
	log  *wal.Log
	// stepsLeft until the crash; negative for none.
	stepsLeft int

	acked shadow
	// applied are the positions the state machine may recover to: the durable
	// one first, the applied one last.
	applied []position

	counts map[string]int
}

var crashOptions = wal.Options{MemoryBytes: 2500, Metadata: wal.Metadata{ClusterID: 7, MemberID: 3}}

func newMember(t *testing.T, seed uint64) *member {
	m := &member{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), stepsLeft: -1, counts: map[string]int{},
		disk: crashlog.New(crashOptions.Metadata, 700),
	}
	start := position{1, 1}
	m.acked = shadow{base: start, state: hardState(1, 0, 1)}
	m.applied = []position{start}
	m.disk.OnStep = func(crashlog.Step) error {
		if m.stepsLeft == 0 {
			return errCrash
		}
		m.stepsLeft--
		return nil
	}
	if err := m.disk.Create(start.meta()); err != nil {
		t.Fatal(err)
	}
	m.reopen(m.acked, nil, nil)
	return m
}

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

// now returns where the state machine is.
func (m *member) now() position { return m.applied[len(m.applied)-1] }

// step does one random thing, possibly with a crash in the middle.
func (m *member) step() {
	if m.rng.IntN(3) == 0 {
		m.stepsLeft = m.rng.IntN(8)
	}
	switch n := m.rng.IntN(100); {
	case n < 40:
		m.append()
	case n < 54:
		m.apply()
	case n < 66:
		m.flush()
	case n < 88:
		m.release()
	case n < 92:
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
		data := make([]byte, m.rng.IntN(120))
		for j := range data {
			data[j] = byte(m.rng.Uint32())
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
	if m.rng.IntN(2) == 0 {
		m.disk.Crash(m.rng.IntN)
	} else {
		m.disk.Kill(m.rng.IntN)
	}
}

// reopen recovers the log, with crashes during recovery, and compares it with
// what it may be.
func (m *member) reopen(before shadow, entries []*raftpb.Entry, state *raftpb.HardState) {
	m.t.Helper()
	for {
		// The state machine comes back anywhere between durable and applied,
		// and further crashes do not take it further.
		m.applied = m.applied[:1+m.rng.IntN(len(m.applied))]
		m.stepsLeft = -1
		if m.rng.IntN(4) == 0 {
			m.stepsLeft = m.rng.IntN(4)
		}
		segments, err := m.disk.Open()
		if err != nil {
			m.t.Fatal(err)
		}
		m.log, err = wal.OpenOn(segments, crashOptions, m.now().meta())
		if err == nil {
			break
		}
		if !errors.Is(err, errCrash) {
			m.t.Fatalf("recover: %v", err)
		}
		m.counts["recovery"]++
		m.die()
	}
	m.stepsLeft = -1
	m.adopt(before, entries, state)
}

// adopt checks the recovered log against what it may be and takes it over as
// what is acknowledged from now on.
func (m *member) adopt(before shadow, entries []*raftpb.Entry, state *raftpb.HardState) {
	m.t.Helper()
	hs, conf, err := m.log.InitialState()
	if err != nil || len(conf.GetVoters()) != 3 {
		m.t.Fatalf("InitialState: %v %v", conf, err)
	}
	last, _ := m.log.LastIndex()
	fits := -1
	for n := len(entries); n >= 0 && fits < 0; n-- {
		if m.compare(before.with(entries[:n])) == nil {
			fits = n
		}
	}
	if fits < 0 {
		m.t.Fatalf("recovered log is neither what was acknowledged nor a prefix of the write under way: %v\nstate %v", m.compare(before), hs)
	}
	after := before.with(entries[:fits])
	m.checkVote(hs, after, state, fits == len(entries))
	most := max(before.state.GetCommit(), m.now().index)
	if state != nil {
		most = max(most, state.GetCommit())
	}
	if c := hs.GetCommit(); c < m.now().index || c > last || c > most {
		m.t.Fatalf("recovered commit index %d, applied %d, last %d, known %d", c, m.now().index, last, most)
	}
	after.state = hs
	m.acked = after
}

// checkVote checks that the recovered term and vote are the acknowledged ones,
// or those of the write under way, or a term raised to that of the entries.
func (m *member) checkVote(hs *raftpb.HardState, after shadow, state *raftpb.HardState, complete bool) {
	m.t.Helper()
	same := func(s *raftpb.HardState) bool {
		return s != nil && s.GetTerm() == hs.GetTerm() && s.GetVote() == hs.GetVote()
	}
	lastTerm := after.term(after.last())
	switch {
	case same(after.state):
	case complete && same(state):
	case lastTerm > after.state.GetTerm() && hs.GetTerm() == lastTerm && hs.GetVote() == 0:
		m.counts["raised"]++
	default:
		m.t.Fatalf("recovered %v, acknowledged %v, under way %v", hs, after.state, state)
	}
}

func (m *member) check(want shadow) {
	m.t.Helper()
	if err := m.compare(want); err != nil {
		m.t.Fatal(err)
	}
}

// compare compares what can be read with want.
func (m *member) compare(want shadow) error {
	first, _ := m.log.FirstIndex()
	last, _ := m.log.LastIndex()
	if last != want.last() {
		return fmt.Errorf("last index %d, want %d", last, want.last())
	}
	if first > m.now().index+1 {
		return fmt.Errorf("the log starts at %d, applied is %d", first, m.now().index)
	}
	if first-1 < want.base.index {
		return fmt.Errorf("the log starts at %d, want it behind %d", first, want.base.index)
	}
	if term, err := m.log.Term(first - 1); err != nil || term != want.term(first-1) {
		return fmt.Errorf("term %d before the first entry %d, want %d (%v)", term, first, want.term(first-1), err)
	}
	entries, err := m.log.Entries(first, last+1, math.MaxUint64)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if w := want.entries[first-want.base.index-1+uint64(i)]; !proto.Equal(e, w) {
			return fmt.Errorf("entry %v, want %v", e, w)
		}
	}
	return nil
}

// TestCrashes checks G1 to G4 over thousands of crashes in the middle of
// everything a log does, recovery included.
func TestCrashes(t *testing.T) {
	const worlds, steps = 60, 400
	total := map[string]int{}
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			m := newMember(t, seed)
			for range steps {
				m.step()
			}
			m.counts["segments"] = m.disk.Segments()
			for k, v := range m.counts {
				total[k] += v
			}
		})
	}
	t.Logf("%v", total)
	for what, least := range map[string]int{
		"crashes": 3000, "append": 500, "release": 60, "reset": 50, "recovery": 300, "rest": 300, "raised": 5, "replaced": 500,
	} {
		if total[what] < least {
			t.Errorf("only %d of %q, want at least %d", total[what], what, least)
		}
	}
}
