package node

import (
	"go.etcd.io/raft/v3/raftpb"
)

// postponed is a write that nobody needs to be made soon: it raises the commit
// index alone, which a restart learns again from the state machine or the
// leader, and acknowledges only what was acknowledged before. It waits for the
// next write, or for the next tick, and so a put costs a follower one write and
// one answer instead of two.
type postponed struct {
	write Write
	any   bool

	// What the leader has been told and the log has been given so far, by
	// writes that were not postponed.
	term, vote uint64
	ackedTerm  uint64
	acked      uint64
	stableTerm uint64
	stable     struct{ index, term uint64 }
}

// news reports whether w has anything in it that cannot wait. A response
// without a new index can still be what a leader waits for that probes its
// follower; such a probe brings no new commit index, or is soon repeated.
func (p *postponed) news(w *Write) bool {
	if len(w.Entries) > 0 || w.Reset != nil || w.Release != nil || w.HardState == nil {
		return true
	}
	if w.HardState.GetTerm() != p.term || w.HardState.GetVote() != p.vote {
		return true
	}
	for _, m := range w.Responses {
		if !p.knows(m) {
			return true
		}
	}
	return false
}

// knows says whether a response repeats what one before it has said.
func (p *postponed) knows(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgAppResp:
		return !m.GetReject() && m.GetTerm() == p.ackedTerm && m.GetIndex() <= p.acked
	case raftpb.MsgStorageAppendResp:
		// While a write of entries is under way raft asks with each write
		// that follows how far the log is stable then.
		return m.GetSnapshot() == nil && m.GetTerm() == p.stableTerm && m.GetLogTerm() == p.stable.term && m.GetIndex() == p.stable.index
	}
	return false
}

// note remembers what a write that is not postponed tells.
func (p *postponed) note(w *Write) {
	if w.HardState != nil {
		p.term, p.vote = w.HardState.GetTerm(), w.HardState.GetVote()
	}
	for _, m := range w.Responses {
		if m.GetType() == raftpb.MsgStorageAppendResp {
			p.stableTerm, p.stable.index, p.stable.term = m.GetTerm(), m.GetIndex(), m.GetLogTerm()
			continue
		}
		if m.GetType() != raftpb.MsgAppResp || m.GetReject() {
			continue
		}
		if m.GetTerm() != p.ackedTerm {
			p.ackedTerm, p.acked = m.GetTerm(), 0
		}
		p.acked = max(p.acked, m.GetIndex())
	}
}

// hold adds w to what is postponed.
func (p *postponed) hold(w Write) {
	p.any = true
	p.write.HardState = w.HardState
	// The responses belong to raft's message: append to a slice of our own.
	p.write.Responses = append(p.write.Responses, w.Responses...)
}

// join puts what is postponed in front of w, in the same write.
func (p *postponed) join(w *Write) {
	if !p.any {
		return
	}
	if w.HardState == nil {
		w.HardState = p.write.HardState
	}
	w.Responses = append(p.write.Responses, w.Responses...)
	p.write, p.any = Write{}, false
}

// put hands a write to the log, or postpones it.
func (c *Core) put(w Write) {
	if !c.postponed.news(&w) {
		c.postponed.hold(w)
		return
	}
	c.postponed.note(&w)
	if w.Reset == nil && w.Release == nil {
		c.postponed.join(&w)
	} else {
		c.putPostponed()
	}
	c.out.Writes = append(c.out.Writes, w)
}

// putPostponed hands over what waits.
func (c *Core) putPostponed() {
	if c.postponed.any {
		var w Write
		c.postponed.join(&w)
		c.out.Writes = append(c.out.Writes, w)
	}
}
