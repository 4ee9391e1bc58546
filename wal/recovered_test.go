package wal_test

import (
	"errors"
	"fmt"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

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
			m.stepsLeft = m.rng.IntN(5)
		}
		var err error
		if m.log, err = m.disk.open(m.now().meta()); err == nil {
			break
		}
		if !errors.Is(err, errCrash) {
			m.t.Fatalf("recover: %v", err)
		}
		m.counts["recovery"]++
		m.die()
	}
	m.stepsLeft = -1
	// What the log shows is what its owner acts on from now on.
	if lost := m.disk.unsynced(); lost != "" {
		m.t.Fatalf("the log is open, and a loss of power could take %s", lost)
	}
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
