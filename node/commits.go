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
// message instead of two.
const commitPause = 2 * time.Millisecond

// commits holds appends without entries, which tell followers what is committed
// and nothing else: to the end of an Output, in which an append with entries may
// come behind them, and for commitPause if appends come that often, unless
// somebody waits. Losing one does no harm, as with every message, so one that is
// overtaken by an append with the same news is dropped.
type commits struct {
	held map[uint64]*raftpb.Message
	due  bool // CommitsDue was asked for
	// waiting are the followers on which somebody waits for a commit: they
	// forwarded a batch or asked for a read at that tick.
	waiting map[uint64]uint64
	// appends were written since the last tick; often: in the tick before that
	// they came more than one in a pause.
	appends int
	often   bool
}

func newCommits() commits {
	return commits{held: make(map[uint64]*raftpb.Message), waiting: make(map[uint64]uint64)}
}

// tick judges from the last tick whether appends come often.
func (c *commits) tick(interval time.Duration) {
	c.often = c.appends > int(interval/commitPause)
	c.appends = 0
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

// scheduleCommits lets go what somebody waits for, or what no append will take
// along soon. It has CommitsDue called while something is held; a call once asked
// for is left to come, since to set a timer anew for each put costs as much as
// the message that it saves.
func (c *Core) scheduleCommits() {
	maps.DeleteFunc(c.commits.waiting, func(_, at uint64) bool { return c.tick-at > 1 })
	if len(c.commits.held) == 0 {
		return
	}
	c.release(func(to uint64) bool { _, waits := c.commits.waiting[to]; return waits || !c.commits.often })
	if len(c.commits.held) > 0 && !c.commits.due {
		c.commits.due = true
		c.out.CommitsAfter = commitPause
	}
}

// CommitsDue is called when Output.CommitsAfter has passed: what is held leaves,
// also what has waited for a shorter time.
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
