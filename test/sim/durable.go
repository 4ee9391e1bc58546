package sim

import (
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
)

// The checks of what is durable: when a promise leaves, when the log gives
// space back, and after a crash.

// wrote checks the log after a group of writes.
func (c *checker) wrote(p *process, group []node.Write) {
	s := c.s
	for i := range group {
		w := &group[i]
		if w.Release == nil && w.Reset == nil {
			continue
		}
		durable, err := p.durable()
		if err != nil {
			c.fail("member %d: durable applied index: %v", p.host.id, err)
			return
		}
		applied, _ := p.state.Applied()
		first, _ := p.log.FirstIndex()
		s.trace.note(s.clock.now, "release", p.host.id, first, p.image.base, durable.GetIndex(), applied)
		if durable.GetIndex() > applied {
			c.fail("member %d has %d durably applied, %d applied (invariant 2)", p.host.id, durable.GetIndex(), applied)
		}
		if p.image.base > durable.GetIndex() {
			c.fail("member %d: on disk the log starts behind %d, the durable state is at %d (invariant 2)", p.host.id, p.image.base, durable.GetIndex())
		}
		if first-1 > applied {
			c.fail("member %d: the log starts behind %d, the state is at %d", p.host.id, first-1, applied)
		}
		if segments := p.host.disk.log.Segments(); segments < p.segments {
			s.report.Releases++
			p.segments = segments
		}
	}
	p.segments = p.host.disk.log.Segments()
}

// acknowledged checks that a message which promises something durable leaves
// only when a power cut would not break the promise (invariant 1).
func (c *checker) acknowledged(p *process, m *raftpb.Message) {
	vote, app := m.GetType() == raftpb.MsgVoteResp, m.GetType() == raftpb.MsgAppResp
	if (!vote && !app) || m.GetReject() {
		return
	}
	hs := p.image.state
	switch {
	case m.GetTerm() < hs.GetTerm():
		// Superseded on the way; as good as late.
	case m.GetTerm() > hs.GetTerm():
		c.fail("member %d sends %s of term %d, a power cut would leave term %d (invariant 1)", p.host.id, m.GetType(), m.GetTerm(), hs.GetTerm())
	case vote && hs.GetVote() != m.GetTo():
		c.fail("member %d votes for %d in term %d, a power cut would leave the vote %d (invariant 1)", p.host.id, m.GetTo(), m.GetTerm(), hs.GetVote())
	case app && !c.keeps(p, m.GetIndex()):
		c.fail("member %d acknowledges entry %d, a power cut would lose it: the log keeps %d to %d (invariant 1)", p.host.id, m.GetIndex(), p.image.base, p.image.last)
	}
}

// stood checks that a member asks for votes, and leads, only in a term that a power
// cut would not let it forget: it could stand for the same term again, and be elected
// by those who voted for it before.
func (c *checker) stood(p *process, m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgApp, raftpb.MsgHeartbeat:
		if durable := p.image.state.GetTerm(); m.GetTerm() > durable {
			c.fail("member %d sends %s of term %d, a power cut would leave term %d (invariant 1)", p.host.id, m.GetType(), m.GetTerm(), durable)
		}
	}
}

// keeps says whether a power cut would leave entry index or a state beyond it.
func (c *checker) keeps(p *process, index uint64) bool {
	if term, err := p.log.Term(index); err == nil && p.image.holds(index, term) {
		return true
	}
	durable, err := p.durable()
	if err != nil {
		c.fail("member %d: durable applied index: %v", p.host.id, err)
	}
	return durable.GetIndex() >= index
}

// opened checks a member that has just recovered.
func (c *checker) opened(p *process) {
	applied, _ := p.state.Applied()
	last, err := p.log.LastIndex()
	if err != nil || last < applied {
		c.fail("member %d opened: its log ends at %d, its state is at %d (%v)", p.host.id, last, applied, err)
	}
	if applied < p.host.disk.claim.applied {
		c.fail("member %d opened with its state at %d, %d had been durable", p.host.id, applied, p.host.disk.claim.applied)
	}
	if before := p.host.disk.claim.log; before != nil {
		c.recovered(p, before)
	}
	c.applied(p)
}

// recovered checks that the log has what a power cut had to leave. Writes that
// were not synced may have survived as well and have replaced some of it.
func (c *checker) recovered(p *process, before *image) {
	hs, _, err := p.log.InitialState()
	if err != nil {
		c.fail("member %d: initial state: %v", p.host.id, err)
		return
	}
	if hs.GetTerm() < before.state.GetTerm() {
		c.fail("member %d opened in term %d, %d had been durable", p.host.id, hs.GetTerm(), before.state.GetTerm())
	}
	if vote := before.state.GetVote(); hs.GetTerm() == before.state.GetTerm() && vote != 0 && hs.GetVote() != vote {
		c.fail("member %d opened with vote %d in term %d, %d had been durable", p.host.id, hs.GetVote(), hs.GetTerm(), vote)
	}
	first, _ := p.log.FirstIndex()
	last, _ := p.log.LastIndex()
	if applied, _ := p.state.Applied(); last == applied {
		return // perhaps restarted behind a snapshot
	}
	lastTerm, err := p.log.Term(last)
	if term := before.terms[before.last]; err != nil || lastTerm < term || (lastTerm == term && last < before.last) {
		c.fail("member %d opened with its log up to %d of term %d, %d of term %d had been durable (%v)", p.host.id, last, lastTerm, before.last, term, err)
	}
	for index := max(first, before.base+1); index <= min(last, before.last); index++ {
		if term, err := p.log.Term(index); err != nil || term < before.terms[index] {
			c.fail("member %d opened with entry %d of term %d, %d had been durable (%v)", p.host.id, index, term, before.terms[index], err)
			return
		}
	}
}
