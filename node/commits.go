package node

import (
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// commitPause is how long the news of a commit may wait for an append to the
// same follower that brings it along. A client that writes again as soon as it
// is answered does so sooner, and each of its puts then costs a follower one
// message instead of two. It is far below the time a follower's readers notice.
const commitPause = 500 * time.Microsecond

// commits holds appends without entries, which tell followers what is committed
// and nothing else: to the end of an Output, in which an append with entries may
// come behind them, and for commitPause unless somebody waits. Losing one does no
// harm, as with every message, so one that is overtaken by an append with the same
// news is dropped.
type commits struct {
	held map[uint64]*raftpb.Message
	due  bool // CommitsDue was asked for
	// waiting are the followers on which somebody waits for a commit: they
	// forwarded a batch or asked for a read at that tick.
	waiting map[uint64]uint64
}

func newCommits() commits {
	return commits{held: make(map[uint64]*raftpb.Message), waiting: make(map[uint64]uint64)}
}

// awaited notes that a follower will wait for the next commits.
func (c *Core) awaited(follower uint64) { c.commits.waiting[follower] = c.tick }

// send puts a message out, or holds it.
func (c *Core) send(m *raftpb.Message) {
	to := m.GetTo()
	switch m.GetType() {
	case raftpb.MsgApp:
		delete(c.commits.held, to)
		if len(m.GetEntries()) == 0 {
			c.commits.held[to] = m
			return
		}
	case raftpb.MsgHeartbeat:
		if c.confirming.spares(m) {
			return
		}
	case raftpb.MsgReadIndexResp:
		// The reader waits for what the leader has committed.
		if held := c.commits.held[to]; held != nil {
			delete(c.commits.held, to)
			c.out.Messages = append(c.out.Messages, held)
		}
	}
	c.out.Messages = append(c.out.Messages, m)
}

// scheduleCommits lets go what somebody waits for and no append of this output
// takes along. It has CommitsDue called while something is held, and says when
// that is not needed any more.
func (c *Core) scheduleCommits() {
	maps.DeleteFunc(c.commits.waiting, func(_, at uint64) bool { return c.tick-at > 1 })
	if len(c.commits.held) > 0 && len(c.commits.waiting) > 0 {
		c.release(func(to uint64) bool { _, waits := c.commits.waiting[to]; return waits })
	}
	holds := len(c.commits.held) > 0
	if holds && !c.commits.due {
		c.out.CommitsAfter = commitPause
	}
	c.out.CommitsSettled = !holds && c.commits.due
	c.commits.due = holds
}

// CommitsDue is called when Output.CommitsAfter has passed: what is held leaves.
func (c *Core) CommitsDue() {
	c.commits.due = false
	c.release(func(uint64) bool { return true })
}

// release puts out what is held for such followers.
func (c *Core) release(whom func(follower uint64) bool) {
	for _, to := range slices.Sorted(maps.Keys(c.commits.held)) {
		if whom(to) {
			c.out.Messages = append(c.out.Messages, c.commits.held[to])
			delete(c.commits.held, to)
		}
	}
}
