package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// backlog keeps the log from being written faster than it is applied, for what is
// not applied stays in memory. Two rules, both by Config.BacklogBytesMax:
//
//   - A follower that is behind with applying acknowledges no append until it has
//     caught up, so a quorum bounds what can be committed, and the leader's window
//     what is sent to each. The first acknowledgement of a term, or after a
//     rejection, is sent nevertheless: a new leader waits for it before it can do
//     anything, and an old one to know what the follower has.
//   - A leader that is behind itself, or has a follower that kept up so far and is
//     behind twice that much, proposes no more than once a tick. Without that the
//     slowest of three members would be left behind by the other two, and need a
//     snapshot. A voter that was gone, is too slow even so, or stays that far behind
//     for an election timeout (Config.BacklogTicksMax) is not waited for until it has
//     caught up.
type backlog struct {
	log extent
	// held is the newest acknowledgement that waits.
	held *raftpb.Message
	// term is that of the acknowledgement that was let through last; 0: of none
	// since a rejection.
	term uint64
	// abreast are the followers that the leader waits for.
	abreast map[uint64]*abreast
	// granted is the proposal that may be made in this tick whoever is behind.
	granted bool
	// waited: something was left for the next tick since a member is behind.
	waited bool
}

// abreast is a follower that kept up so far. It makes the leader wait since that
// tick, if it does.
type abreast struct {
	waits bool
	since uint64
}

// grains is how many pieces of Config.BacklogBytesMax are told apart.
const grains = 64

// farFactor is how many times Config.BacklogBytesMax a follower may be behind before
// it is not waited for any more.
const farFactor = 6

// windowFactor is how many times Config.BacklogBytesMax may be on its way to a
// follower.
const windowFactor = 4

// written counts what is handed to the log.
func (b *backlog) written(entries []*raftpb.Entry, bytes int) {
	if n := len(entries); n > 0 {
		b.log.append(entries[0].GetIndex(), entries[n-1].GetIndex(), bytes)
	}
}

// behindApplying says whether there is too much that is committed and not applied.
func (c *Core) behindApplying() bool {
	log := &c.backlog.log
	return log.beyond(c.applied)-log.beyond(c.rn.BasicStatus().GetCommit()) > c.cfg.BacklogBytesMax
}

// holdBack takes the acknowledgements of appends out of responses while this member
// is behind with applying. Only the newest has to be sent later.
func (c *Core) holdBack(responses []*raftpb.Message) []*raftpb.Message {
	b := &c.backlog
	var others []*raftpb.Message // the array is raft's
	for _, m := range responses {
		switch {
		case m.GetType() == raftpb.MsgAppResp && m.GetReject():
			b.term = 0
		case !c.acknowledges(m):
		case b.term == m.GetTerm() && c.behindApplying():
			c.slowness.acksHeld.Add(1)
			if b.held == nil || b.held.GetTerm() != m.GetTerm() || b.held.GetIndex() < m.GetIndex() {
				b.held = m
			}
			continue
		default:
			b.term = m.GetTerm()
		}
		others = append(others, m)
	}
	return others
}

// acknowledges says whether m tells another member that entries are in the log.
func (c *Core) acknowledges(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgAppResp && !m.GetReject() && m.GetIndex() > 0 && m.GetTo() != c.cfg.ID
}

// letGo sends the acknowledgement that waits, once this member has caught up. It
// goes by the log writer, behind what it promises (invariant 1).
func (c *Core) letGo() {
	m := c.backlog.held
	if m == nil || c.behindApplying() {
		return
	}
	c.backlog.held = nil
	if m.GetTerm() == c.rn.BasicStatus().GetTerm() {
		c.put(Write{Responses: []*raftpb.Message{m}})
	}
}

// noteAbreast looks, every tick, for followers that keep up.
func (c *Core) noteAbreast() {
	b := &c.backlog
	b.granted, b.waited = true, false
	b.log.forget(c.applied, farFactor*c.cfg.BacklogBytesMax)
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		clear(b.abreast)
		return
	}
	c.eachFollower(func(id uint64, pr tracker.Progress) {
		behind, known := b.log.beyond(pr.Match), b.abreast[id]
		switch {
		case !c.live(id, pr) || pr.State != tracker.StateReplicate || behind >= farFactor*c.cfg.BacklogBytesMax:
			delete(b.abreast, id)
		case known == nil && behind <= c.cfg.BacklogBytesMax:
			b.abreast[id] = &abreast{}
		case known != nil && c.waitsFor(known, pr) && c.tick-known.since >= uint64(c.cfg.BacklogTicksMax):
			delete(b.abreast, id)
		}
	})
}

// eachFollower visits the other voters of a leader.
func (c *Core) eachFollower(visit func(id uint64, pr tracker.Progress)) {
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if typ == raft.ProgressTypePeer && id != c.cfg.ID {
			visit(id, pr)
		}
	})
}

// waitsFor says whether a follower that kept up is so far behind that it is waited
// for, and notes since when.
func (c *Core) waitsFor(a *abreast, pr tracker.Progress) bool {
	waits := c.farBehind(pr)
	if waits && !a.waits {
		a.since = c.tick
	}
	a.waits = waits
	return waits
}

func (c *Core) farBehind(pr tracker.Progress) bool {
	return c.backlog.log.beyond(pr.Match) > 2*c.cfg.BacklogBytesMax
}

// WaitsFor returns the followers for which this leader waits now, so that it proposes
// no more than once a tick.
func (c *Core) WaitsFor() (ids []uint64) {
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		return nil
	}
	c.eachFollower(func(id uint64, pr tracker.Progress) {
		if c.backlog.abreast[id] != nil && c.farBehind(pr) {
			ids = append(ids, id)
		}
	})
	return ids
}

// crowded says whether a member is behind that is waited for.
func (c *Core) crowded() bool {
	if c.behindApplying() {
		return true
	}
	crowded := false
	c.eachFollower(func(id uint64, pr tracker.Progress) {
		if a := c.backlog.abreast[id]; a != nil && c.waitsFor(a, pr) {
			crowded = true
		}
	})
	return crowded
}

// waits says whether what there is to propose, if anything, is left for the next
// tick.
func (c *Core) waits() bool {
	b := &c.backlog
	if b.granted || !c.crowded() {
		return false
	}
	if !b.waited && (len(c.gathered.batches) > 0 || c.proposals.ready()) {
		b.waited = true
		c.slowness.ticksWaited.Add(1)
	}
	return true
}
