package node

import (
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// gathered is what a leader has yet to propose for others, and how much it has
// under way. What batches cost on their way (a message to each follower, an fsync
// and an answer from it, the wake-ups of all these) is paid for each append,
// however many entries that has. So a leader with appends under way lets batches
// of all members come together, and proposes them at once when one of those is
// committed. With nothing under way nobody waits for company.
//
// All of it belongs to a term: whoever handed a batch to the leader of another
// one does so again.
type gathered struct {
	term    uint64
	batches [][]byte // of other members, in the order in which they came
	bytes   int
	// proposed counts the proposals since the last collect, ends are the last
	// indexes of those before that are not committed.
	proposed int
	ends     []uint64

	waiting *atomic.Int64 // len(batches), for Stats
}

func newGathered() gathered { return gathered{waiting: new(atomic.Int64)} }

// begin drops what is of another term than the leader's, which is 0 for a member
// that does not lead.
func (g *gathered) begin(term uint64) {
	if g.term != term {
		g.waiting.Store(0)
		*g = gathered{term: term, waiting: g.waiting}
	}
}

// add takes a batch of another member; false: there is no room.
func (g *gathered) add(data []byte, bytesMax int) bool {
	if g.bytes > 0 && g.bytes+len(data) > bytesMax {
		return false
	}
	g.batches = append(g.batches, data)
	g.bytes += len(data)
	g.waiting.Add(1)
	return true
}

// room says whether another proposal may be made, given what is committed.
func (g *gathered) room(committed uint64, most int) bool {
	for len(g.ends) > 0 && g.ends[0] <= committed {
		g.ends = g.ends[1:]
	}
	return len(g.ends)+g.proposed < most
}

// appended notes the indexes that raft gave to what was proposed.
func (g *gathered) appended(entries []*raftpb.Entry) {
	if g.proposed > 0 && len(entries) > 0 {
		g.proposed = 0
		g.ends = append(g.ends, entries[len(entries)-1].GetIndex())
	}
}

// appendBytesMax is what raft puts into one append, and proposalBytesMax what is
// proposed at once, so that it goes into one: raft sends a second append only when
// the first is acknowledged. The rest is for what surrounds the payload.
const (
	appendBytesMax   = 1 << 20
	proposalBytesMax = appendBytesMax - 32<<10
)

// take returns entries for one proposal.
func (g *gathered) take() (entries []*raftpb.Entry, bytes int) {
	for len(g.batches) > 0 && (bytes == 0 || bytes+len(g.batches[0]) <= proposalBytesMax) {
		bytes += len(g.batches[0])
		entries = append(entries, &raftpb.Entry{Data: g.batches[0]})
		g.batches[0] = nil
		g.batches = g.batches[1:]
	}
	g.bytes -= bytes
	g.waiting.Add(-int64(len(entries)))
	return entries, bytes
}

// propose proposes what has come together, of this leader and of others.
func (c *Core) propose(status raft.BasicStatus) {
	c.gathered.begin(status.GetTerm())
	if status.LeadTransferee != raft.None {
		return // raft takes nothing while it hands over
	}
	// While the log of this leader writes entries, others come together: proposed
	// by themselves they would be small, and wait for the disk, here and on
	// followers.
	for c.writeBytes == 0 && c.gathered.room(status.GetCommit(), c.cfg.AppendsMax) {
		if c.waits() {
			return
		}
		entries, bytes := c.gathered.take()
		own := c.proposals.take()
		if own == nil && len(entries) == 0 {
			return
		}
		c.backlog.granted = false
		taken := true
		if own != nil && len(entries) > 0 && bytes+len(own.data) > proposalBytesMax {
			taken, entries = c.stepProposal(entries), nil
		}
		if own != nil {
			own.sentTo, own.sentTerm, own.sentTick = c.cfg.ID, status.GetTerm(), c.tick
			entries = append(entries, &raftpb.Entry{Data: own.data})
		}
		if taken = taken && c.stepProposal(entries); !taken {
			if own != nil {
				own.sentTerm = 0 // it is handed on again
			}
			return
		}
	}
}

// stepProposal proposes entries as one append; false: raft has dropped them. Those
// of other members come again.
func (c *Core) stepProposal(entries []*raftpb.Entry) bool {
	err := c.rn.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(c.cfg.ID), Entries: entries})
	if err == nil {
		c.gathered.proposed++
	}
	return err == nil
}
