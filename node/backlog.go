package node

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// backlog keeps the log from being written faster than it is applied, for what is
// not applied stays in memory. Two rules, both by Config.BacklogBytesMax:
//
//   - A follower that is behind with applying acknowledges no append until it has
//     caught up, so a quorum bounds what can be committed, and the leader's window
//     what is sent to each. While all that is committed is applied nothing is held
//     back: an acknowledgement is what the next commit waits for.
//   - A leader that is behind itself, or has a follower that kept up so far and is
//     behind twice that much, proposes no more than once a tick. Without that the
//     slowest of three members would be left behind by the other two, and need a
//     snapshot. Members that were gone, or are too slow even so, are not waited for.
type backlog struct {
	log extent
	// held is the newest acknowledgement that waits.
	held *raftpb.Message
	// abreast are the followers that the leader waits for.
	abreast map[uint64]bool
	// granted is the proposal that may be made in this tick whoever is behind.
	granted bool
}

// grains is how many pieces of Config.BacklogBytesMax are told apart.
const grains = 64

// farFactor is how many times Config.BacklogBytesMax a follower may be behind before
// it is not waited for any more.
const farFactor = 6

// extent knows how many bytes of log lie behind an index, for the newest part of the
// log.
type extent struct {
	grain int // appends that are small together count as one, up to so many bytes
	base  int // bytes before ends
	ends  []end
}

// end is the last index of one or a few appends, and how many bytes were written up
// to it.
type end struct {
	last  uint64
	bytes int
}

func (e *extent) total() int {
	return e.before(len(e.ends))
}

// before returns the bytes before the piece with that number.
func (e *extent) before(n int) int {
	if n == 0 {
		return e.base
	}
	return e.ends[n-1].bytes
}

// append counts entries from index first to last. What they replace counts no more.
func (e *extent) append(first, last uint64, bytes int) {
	n, _ := e.find(first - 1)
	e.ends = e.ends[:n]
	total := e.total() + bytes
	if n > 0 && total-e.before(n-1) <= e.grain {
		n--
	}
	e.ends = append(e.ends[:n], end{last, total})
}

// find returns how many appends lie before the first that goes beyond index, and
// the bytes of them.
func (e *extent) find(index uint64) (n, bytes int) {
	n, _ = slices.BinarySearchFunc(e.ends, index+1, func(x end, next uint64) int { return int(int64(x.last) - int64(next)) })
	return n, e.before(n)
}

// beyond returns the bytes of the appends that go beyond index, those that count as
// one with them included.
func (e *extent) beyond(index uint64) int {
	_, before := e.find(index)
	return e.total() - before
}

// forget drops what lies up to index and further back than so many bytes.
func (e *extent) forget(index uint64, bytes int) {
	n, _ := e.find(index)
	for n > 0 && e.total()-e.ends[n-1].bytes < bytes {
		n--
	}
	if n > 0 {
		e.base = e.ends[n-1].bytes
		e.ends = slices.Delete(e.ends, 0, n)
	}
}

// written counts what is handed to the log.
func (b *backlog) written(entries []*raftpb.Entry, bytes int) {
	if n := len(entries); n > 0 {
		b.log.append(entries[0].GetIndex(), entries[n-1].GetIndex(), bytes)
	}
}

// behindApplying says whether there is too much that is committed and not applied.
func (c *Core) behindApplying() bool {
	return c.backlog.log.beyond(c.applied) > c.cfg.BacklogBytesMax && c.rn.BasicStatus().GetCommit() > c.applied
}

// holdBack takes the acknowledgements of appends out of responses while this member
// is behind with applying, but for the newest they need not be sent later.
func (c *Core) holdBack(responses []*raftpb.Message) []*raftpb.Message {
	if !slices.ContainsFunc(responses, c.acknowledges) || !c.behindApplying() {
		return responses
	}
	var others []*raftpb.Message // the array is raft's
	for _, m := range responses {
		switch held := c.backlog.held; {
		case !c.acknowledges(m):
			others = append(others, m)
		case held == nil || held.GetTerm() != m.GetTerm() || held.GetIndex() < m.GetIndex():
			c.backlog.held = m
		}
	}
	return others
}

// acknowledges says whether m tells another member that entries are in the log.
func (c *Core) acknowledges(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgAppResp && !m.GetReject() && m.GetTo() != c.cfg.ID
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
	b.granted = true
	b.log.forget(c.applied, farFactor*c.cfg.BacklogBytesMax)
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		clear(b.abreast)
		return
	}
	c.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		behind := b.log.beyond(pr.Match)
		switch {
		case !c.live(id, pr) || pr.State != tracker.StateReplicate || behind >= farFactor*c.cfg.BacklogBytesMax:
			delete(b.abreast, id)
		case behind <= c.cfg.BacklogBytesMax:
			b.abreast[id] = true
		}
	})
}

// crowded says whether a member is behind that is waited for.
func (c *Core) crowded() bool {
	b := &c.backlog
	if c.behindApplying() {
		return true
	}
	if b.log.total()-b.log.base <= 2*c.cfg.BacklogBytesMax {
		return false
	}
	crowded := false
	c.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		crowded = crowded || b.abreast[id] && b.log.beyond(pr.Match) > 2*c.cfg.BacklogBytesMax
	})
	return crowded
}
