package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// gathered holds what a leader has yet to propose for others. What batches cost
// on their way (a message to each follower, an fsync and an answer from it, the
// wake-ups of all these) is paid for each append, however many entries that has.
// So a leader that has appends under way lets batches of all members come
// together, and proposes them at once when one of those is committed. With
// nothing under way nobody waits for company.
type gathered struct {
	batches [][]byte // of other members, in the order in which they came
	bytes   int
	// ends are the last indexes of the proposals under way; proposed: another
	// one has not got its indexes yet.
	ends     []uint64
	proposed bool
	term     uint64
}

// room says whether something may be proposed, given the leader's term and what
// is committed.
func (g *gathered) room(term, committed uint64, most int) bool {
	if g.term != term {
		*g = gathered{term: term}
	}
	for len(g.ends) > 0 && g.ends[0] <= committed {
		g.ends = g.ends[1:]
	}
	underWay := len(g.ends)
	if g.proposed {
		underWay++
	}
	return underWay < most
}

// appended notes the indexes that raft gave to entries.
func (g *gathered) appended(entries []*raftpb.Entry) {
	if g.proposed && len(entries) > 0 {
		g.proposed = false
		g.ends = append(g.ends, entries[len(entries)-1].GetIndex())
	}
}

// add takes a batch of another member; false: there are too many.
func (g *gathered) add(data []byte, bytesMax int) bool {
	if g.bytes > 0 && g.bytes+len(data) > bytesMax {
		return false
	}
	g.batches = append(g.batches, data)
	g.bytes += len(data)
	return true
}

// proposalBytesMax bounds what is proposed at once: with what an append may
// carry, raft need not divide it.
const proposalBytesMax = 1 << 20

// take returns entries for one proposal.
func (g *gathered) take() []*raftpb.Entry {
	var entries []*raftpb.Entry
	bytes := 0
	for len(g.batches) > 0 && (bytes == 0 || bytes+len(g.batches[0]) <= proposalBytesMax) {
		bytes += len(g.batches[0])
		entries = append(entries, &raftpb.Entry{Data: g.batches[0]})
		g.batches[0] = nil
		g.batches = g.batches[1:]
	}
	g.bytes -= bytes
	return entries
}

// propose proposes what has come together, of this leader and of others.
func (c *Core) propose(status raft.BasicStatus) {
	term := status.GetTerm()
	for c.writeBytes < c.cfg.WriteBytesMax && c.gathered.room(term, status.GetCommit(), c.cfg.AppendsMax) {
		entries := c.gathered.take()
		b := c.proposals.take()
		if b != nil {
			b.sentTo, b.sentTerm, b.sentTick = c.cfg.ID, term, c.tick
			entries = append(entries, &raftpb.Entry{Data: b.data})
		}
		if len(entries) == 0 {
			return
		}
		err := c.rn.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(c.cfg.ID), Entries: entries})
		switch {
		case err == nil:
			c.gathered.proposed = true
		case b != nil:
			b.sentTerm = 0
		}
		// What raft refused of others they hand over again.
	}
}
