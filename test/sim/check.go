package sim

import (
	"hash/fnv"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
)

// checker compares what every member does at every step with what all members
// did before.
type checker struct {
	s *simulation
	// leaders by term: at most one.
	leaders map[uint64]uint64
	// entries by index and term: an entry has one content and one predecessor,
	// from which log matching follows by induction.
	entries map[[2]uint64]fact
	// committed entries by index, and hashes of the state by applied index.
	committed map[uint64]commitment
	commitMax uint64
	states    map[uint64]uint64
}

// commitment is a committed entry; by is the lowest term in which a member was
// seen to take it for committed.
type commitment struct {
	fact
	by uint64
}

// fact is what identifies an entry: its term, its predecessor's term and its
// content.
type fact struct {
	term, before, content uint64
}

func newChecker(s *simulation) *checker {
	return &checker{
		s: s, leaders: map[uint64]uint64{}, entries: map[[2]uint64]fact{},
		committed: map[uint64]commitment{}, states: map[uint64]uint64{},
	}
}

// fail reports a violation that only a look inside shows.
func (c *checker) fail(format string, args ...any) {
	if !c.s.opts.OnlyConsequences {
		c.s.fail(format, args...)
	}
}

func contentOf(e *raftpb.Entry) uint64 {
	h := fnv.New64a()
	h.Write(append([]byte{byte(e.GetType())}, e.GetData()...))
	return h.Sum64()
}

// output checks what a core wants written and applied.
func (c *checker) output(p *process, out *node.Output) {
	for i := range out.Writes {
		w := &out.Writes[i]
		if w.Reset != nil {
			clear(p.terms)
			p.last = w.Reset.GetIndex()
			p.terms[p.last] = w.Reset.GetTerm()
		}
		for _, e := range w.Entries {
			c.entry(p, e)
		}
	}
	for i := range out.Applies {
		for _, e := range out.Applies[i].Entries {
			c.commit(p, e)
		}
	}
}

func (c *checker) entry(p *process, e *raftpb.Entry) {
	index := e.GetIndex()
	before, ok := p.term(index - 1)
	if !ok {
		c.fail("member %d writes entry %d, but does not know the one before it", p.host.id, index)
		return
	}
	p.terms[index], p.last = e.GetTerm(), index
	f := fact{term: e.GetTerm(), before: before, content: contentOf(e)}
	key := [2]uint64{index, e.GetTerm()}
	if known, ok := c.entries[key]; ok && known != f {
		c.fail("log matching: member %d has entry %d of term %d as %+v, known as %+v", p.host.id, index, e.GetTerm(), f, known)
	}
	c.entries[key] = f
}

// term is that of an entry that was handed to the log writer or is in the log.
func (p *process) term(index uint64) (uint64, bool) {
	if term, ok := p.terms[index]; ok {
		return term, true
	}
	term, err := p.log.Term(index)
	return term, err == nil
}

// commit checks an entry that a core takes to be committed.
func (c *checker) commit(p *process, e *raftpb.Entry) {
	f := fact{term: e.GetTerm(), content: contentOf(e)}
	known, ok := c.committed[e.GetIndex()]
	if ok && known.fact != f {
		c.fail("state machine safety: member %d commits entry %d of term %d, it was committed in term %d", p.host.id, e.GetIndex(), f.term, known.term)
	}
	if by := p.core.Status().Term; !ok || by < known.by {
		c.committed[e.GetIndex()] = commitment{fact: f, by: by}
	}
	c.commitMax = max(c.commitMax, e.GetIndex())
}

// status checks the core's view of itself after a turn.
func (c *checker) status(p *process) {
	st := p.core.Status()
	if st.Role == node.Leader {
		if other, ok := c.leaders[st.Term]; ok && other != st.ID {
			c.fail("election safety: members %d and %d lead term %d", other, st.ID, st.Term)
		}
		c.leaders[st.Term] = st.ID
		if p.led != st.Term {
			p.led = st.Term
			c.elected(p, st.Term)
		}
	}
	if st.Applied > st.Commit {
		c.fail("member %d has applied %d, committed %d (invariant 2)", st.ID, st.Applied, st.Commit)
	}
	if applied, _ := p.state.Applied(); applied < st.Applied {
		c.fail("member %d takes %d for applied, its state is at %d", st.ID, st.Applied, applied)
	}
}

// elected checks leader completeness: what was committed in an earlier term is
// in the log of a new leader.
func (c *checker) elected(p *process, term uint64) {
	c.s.trace.note(c.s.clock.now, "leader", p.host.id, term)
	c.s.report.Elections++
	first, _ := p.log.FirstIndex()
	for index := first; index <= c.commitMax; index++ {
		known, ok := c.committed[index]
		if !ok || known.by >= term {
			continue
		}
		if t, ok := p.term(index); !ok || index > p.last || t != known.term {
			c.fail("leader completeness: member %d leads term %d without entry %d of term %d, committed by term %d", p.host.id, term, index, known.term, known.by)
			return
		}
	}
}

// applied compares the state's rolling hash with that of the others at the same
// index.
func (c *checker) applied(p *process) {
	index, term := p.state.Applied()
	if index == 0 {
		return // a state that is still to come
	}
	_, hash := p.state.RollingHash()
	c.s.trace.note(c.s.clock.now, "applied", p.host.id, index, term, hash)
	if known, ok := c.states[index]; ok && known != hash {
		c.fail("divergence: at index %d member %d has hash %x, others had %x", index, p.host.id, hash, known)
	}
	c.states[index] = hash
}
