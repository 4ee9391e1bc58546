package node

import (
	"bytes"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Change is one configuration change on its way. Only a leader proposes one,
// and one at a time: until the fate of the last one is settled another is
// refused, whether or not somebody still waits for it.
//
// Unlike a batch a change is proposed once. It may wait for that (for the
// leader to apply an entry of its own term, for a transfer of leadership to
// end), but a change whose leader is deposed is never handed to the next one:
// members must not change long after the operator was told that it failed.
type Change struct {
	single  *raftpb.ConfChangeSingle
	command []byte
	done    chan Result

	batch uint64 // guarded by changes.mu; names the change once raft has taken it
	data  []byte // of the entry; the loop's, like the rest
	// index of the entry. When it is applied the change is settled: an entry
	// that was committed in its place means that it never will be.
	index uint64
}

// Done delivers the result, once.
func (c *Change) Done() <-chan Result { return c.done }

// changes holds the change that this member has under way.
//
// Callers start and abandon it, the loop proposes and settles it, the applier
// answers it.
type changes struct {
	mu struct {
		sync.Mutex
		current *Change
		stopped bool
	}
	retryTick uint64 // the loop's: not proposed again before this tick
}

func (c *changes) start(single *raftpb.ConfChangeSingle, command []byte) (*Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.stopped:
		return nil, ErrStopped
	case c.mu.current != nil:
		return nil, ErrChangePending
	}
	c.mu.current = &Change{single: single, command: command, done: make(chan Result, 1)}
	return c.mu.current, nil
}

func (c *changes) abandon(change *Change) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case r := <-change.done:
		return r
	default:
	}
	if change.batch != 0 {
		return Result{Err: ErrUnknownOutcome} // it stays current until it is settled
	}
	c.mu.current = nil
	return Result{Err: ErrNotApplied}
}

// waiting returns the change that is still to be proposed, or nil.
func (c *changes) waiting() *Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.current == nil || c.mu.current.batch != 0 {
		return nil
	}
	return c.mu.current
}

// take marks a change as being proposed under a name; false: it was abandoned.
func (c *changes) take(change *Change, batch uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.current != change {
		return false
	}
	change.batch = batch
	return true
}

// untake takes take back: raft did not take the change.
func (c *changes) untake(change *Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change.batch = 0
}

// finish answers the current change if it is the one that ok accepts.
func (c *changes) finish(r Result, ok func(*Change) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	change := c.mu.current
	if change == nil || !ok(change) {
		return false
	}
	c.mu.current = nil
	change.done <- r
	return true
}

func (c *changes) answer(index, batch uint64, results []any) bool {
	r := Result{Index: index}
	if len(results) == 1 {
		if refusal, ok := results[0].(error); ok {
			r.Err = refusal
		} else {
			r.Value = results[0]
		}
	}
	return c.finish(r, func(change *Change) bool { return change.batch != 0 && change.batch == batch })
}

func (c *changes) stop() {
	c.mu.Lock()
	c.mu.stopped = true
	c.mu.Unlock()
	c.finish(Result{Err: ErrUnknownOutcome}, taken)
	c.finish(Result{Err: ErrStopped}, func(*Change) bool { return true })
}

func taken(change *Change) bool { return change.batch != 0 }

// ProposeChange begins a configuration change that command describes to the
// state machine. The caller waits on Done or calls AbandonChange.
func (c *Core) ProposeChange(single *raftpb.ConfChangeSingle, command []byte) (*Change, error) {
	if len(command) > c.cfg.CommandBytesMax {
		return nil, ErrTooLarge
	}
	return c.changes.start(single, command)
}

// AbandonChange gives up waiting and says what is known of the change's fate.
func (c *Core) AbandonChange(change *Change) Result { return c.changes.abandon(change) }

// proposeChange hands the change that waits to raft, if this member leads and
// raft would take it: it turns a change into an empty entry while it has not
// applied all that an earlier term may have left, so that has to be waited for.
func (c *Core) proposeChange() {
	change := c.changes.waiting()
	if change == nil {
		return
	}
	basic := c.rn.BasicStatus()
	if basic.RaftState != raft.StateLeader {
		c.changes.finish(Result{Err: ErrNotLeader}, func(current *Change) bool { return current == change })
		return
	}
	if c.appliedTerm != basic.GetTerm() || c.tick < c.changes.retryTick || c.writeBytes >= c.cfg.WriteBytesMax {
		return
	}
	batch := c.proposals.name()
	data, err := proto.Marshal(&raftpb.ConfChange{
		Type: change.single.Type, NodeId: change.single.NodeId, Context: c.cfg.Pack(batch, [][]byte{change.command}),
	})
	if err != nil || !c.changes.take(change, batch) {
		return
	}
	change.data, change.index = data, 0
	// By Step and not by ProposeConfChange: raft puts an empty entry in the
	// place of a change that it refuses, and says so in no other way.
	m := &raftpb.Message{
		Type: raftpb.MsgProp.Enum(), From: new(c.cfg.ID),
		Entries: []*raftpb.Entry{{Type: raftpb.EntryConfChange.Enum(), Data: data}},
	}
	if err := c.rn.Step(m); err != nil || !isConfChange(m.GetEntries()[0]) {
		c.changes.untake(change)
		c.changes.retryTick = c.tick + 1
	}
}

// noteChange learns the index of the change from the entries that go to the log.
func (c *Core) noteChange(entries []*raftpb.Entry) {
	c.changes.mu.Lock()
	defer c.changes.mu.Unlock()
	change := c.changes.mu.current
	if change == nil || change.batch == 0 || change.index != 0 {
		return
	}
	for _, e := range entries {
		if isConfChange(e) && bytes.Equal(e.GetData(), change.data) {
			change.index = e.GetIndex()
		}
	}
}

// settleChange answers the change whose place in the log is applied and that the
// state machine did not answer: another leader's entry is there.
func (c *Core) settleChange() {
	c.changes.finish(Result{Err: ErrSuperseded}, func(change *Change) bool {
		return change.index != 0 && change.index <= c.applied
	})
}
