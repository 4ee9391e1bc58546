package node

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// TransferLeader starts to hand leadership to the voter that holds most of the
// log, and returns it; 0 if this member does not lead or nobody can take over.
func (c *Core) TransferLeader() uint64 {
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		return 0
	}
	var best, match uint64
	c.eachVoter(func(id, m uint64, active bool) {
		if id != c.cfg.ID && active && m > match {
			best, match = id, m
		}
	})
	if best != 0 {
		c.giveUpLease()
		c.rn.TransferLeader(best)
	}
	return best
}

// TransferTo starts to hand leadership to a member. Raft ignores it unless this
// member leads and the other one is a voter.
func (c *Core) TransferTo(id uint64) {
	if c.rn.BasicStatus().RaftState == raft.StateLeader {
		c.giveUpLease()
		c.rn.TransferLeader(id)
	}
}

// watchdog notices a disk that does not finish what it is given. It takes marks:
// everything handed over by the time of a mark has to be durable an election
// timeout later.
type watchdog struct {
	given, durable uint64 // bytes of entries so far
	mark           uint64 // of given
	markTick       uint64
}

func (w *watchdog) handed(bytes int) { w.given += uint64(bytes) }
func (w *watchdog) done(bytes int)   { w.durable += uint64(bytes) }

// stalled returns for how many ticks an append has been waiting at least.
func (w *watchdog) stalled(tick uint64) uint64 {
	if w.durable >= w.mark {
		w.mark, w.markTick = w.given, tick
		return 0
	}
	return tick - w.markTick
}

// watchDisk hands leadership away when the oldest append that the log has not
// finished is older than an election timeout: followers acknowledge without this
// member, so nobody would depose it, but it applies and answers nothing.
func (c *Core) watchDisk() {
	stalled := c.disk.stalled(c.tick)
	// Raft gives a transfer an election timeout; then another one may do better.
	if stalled == 0 || stalled%uint64(c.cfg.ElectionTicks) != 0 {
		return
	}
	if to := c.TransferLeader(); to != 0 {
		c.slowness.diskTransfers.Add(1)
		c.cfg.Logger.Sugar().Warnf("the disk has not finished an append to the log for %v; leadership goes to member %x",
			time.Duration(stalled)*c.cfg.TickInterval, to)
	}
}

// MoveLeader moves leadership from this member to another voter and returns
// when that one leads.
func (n *Node) MoveLeader(ctx context.Context, to uint64) error {
	again := time.NewTicker(n.cfg.TickInterval)
	defer again.Stop()
	for {
		next := n.watch.wait()
		switch s := n.Status(); {
		case s.Leader == to:
			return nil
		case s.Role == Leader:
			n.call(func(c *Core) { c.TransferTo(to) })
		case s.Leader != 0:
			return fmt.Errorf("move leadership to %x: member %x has it: %w", to, s.Leader, ErrNotLeader)
		}
		select {
		case <-next:
		case <-again.C:
		case <-n.done:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("move leadership to %x: %w", to, context.Cause(ctx))
		}
	}
}

// Progress is what the leader knows of one member's log, its own included.
type Progress struct {
	ID      uint64
	Match   uint64 // up to here the member holds the log durably
	Learner bool
	// Active: it was heard of within the last election timeout.
	Active bool
	// Snapshot: it is being sent a snapshot.
	Snapshot bool
}

// Progress returns the progress of all members; nil unless this member leads.
func (c *Core) Progress() []Progress {
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		return nil
	}
	var all []Progress
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		all = append(all, Progress{
			ID: id, Match: pr.Match, Learner: typ == raft.ProgressTypeLearner,
			Active: c.live(id, pr) || id == c.cfg.ID, Snapshot: pr.State == tracker.StateSnapshot,
		})
	})
	return all
}

// Progress returns the progress of all members; ErrNotLeader unless this member
// leads.
func (n *Node) Progress(ctx context.Context) ([]Progress, error) {
	reply := make(chan []Progress, 1)
	n.call(func(c *Core) { reply <- c.Progress() })
	select {
	case all := <-reply:
		if all == nil {
			return nil, ErrNotLeader
		}
		return all, nil
	case <-n.done:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for the progress of members: %w", context.Cause(ctx))
	}
}

// ChangeMembers replicates a configuration change, which command describes to
// the state machine, and returns the state machine's answer. Only the leader can;
// elsewhere it is ErrNotLeader. Errors as of Propose.
func (n *Node) ChangeMembers(ctx context.Context, single *raftpb.ConfChangeSingle, command []byte) (any, uint64, error) {
	change, err := n.core.ProposeChange(single, command)
	if err != nil {
		return nil, 0, err
	}
	n.drive()
	select {
	case r := <-change.Done():
		return r.Value, r.Index, r.Err
	case <-ctx.Done():
		r := n.core.AbandonChange(change)
		return r.Value, r.Index, explainAbandoned(ctx, r.Err)
	}
}
