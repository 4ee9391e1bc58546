package node

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// statusWatch lets goroutines wait for a change of role, leader or term.
type statusWatch struct {
	mu   sync.Mutex
	last Status
	next chan struct{} // closed at the next change
}

func newStatusWatch() *statusWatch { return &statusWatch{next: make(chan struct{})} }

func (w *statusWatch) changed(s Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Role == w.last.Role && s.Leader == w.last.Leader && s.Term == w.last.Term {
		return
	}
	w.last = s
	close(w.next)
	w.next = make(chan struct{})
}

func (w *statusWatch) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}

// WaitFor blocks until the status satisfies ok, the node stops, or ctx ends.
// It wakes on changes of role, leader and term.
func (n *Node) WaitFor(ctx context.Context, ok func(Status) bool) error {
	for {
		next := n.watch.wait()
		if ok(n.Status()) {
			return nil
		}
		select {
		case <-next:
		case <-n.done:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster: %w", context.Cause(ctx))
		}
	}
}

// HandOver moves leadership away from this member, if it has it, and returns
// when another member leads. Used before a graceful stop. It tries again at
// each heartbeat interval: a leader that was just elected has not heard of the
// others yet, and raft gives up a transfer after an election timeout.
func (n *Node) HandOver(ctx context.Context) error {
	if n.Status().Role != Leader {
		return nil
	}
	again := time.NewTicker(n.cfg.TickInterval)
	defer again.Stop()
	for {
		next := n.watch.wait()
		switch s := n.Status(); {
		case s.Role == Leader:
			n.call(func(c *Core) { c.TransferLeader() })
		case s.Leader != 0:
			return nil
		}
		select {
		case <-next:
		case <-again.C:
		case <-n.done:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("hand over leadership: %w", context.Cause(ctx))
		}
	}
}

// Holders returns how many of all members hold the log up to index durably. It
// waits for the remaining ones until ctx ends. Only the leader knows: elsewhere
// it is ErrNoLeader. This is what other members ask.
func (n *Node) Holders(ctx context.Context, index uint64) (have, total int, err error) {
	if n.Status().Role != Leader {
		return 0, 0, ErrNoLeader
	}
	h := NewHolderCount(index)
	n.call(func(c *Core) { c.AddHolderCount(h) })
	defer h.Cancel()
	select {
	case <-h.Done():
	case <-ctx.Done():
	case <-n.done:
		return 0, 0, ErrStopped
	}
	have, total = h.Counts()
	return have, total, nil
}

// HoldersOf is Holders on any member: one that does not lead asks the leader,
// once, so that two members which take each other for the leader do not ask in
// circles.
func (n *Node) HoldersOf(ctx context.Context, index uint64) (have, total int, err error) {
	status := n.Status()
	switch {
	case status.Role == Leader:
		return n.Holders(ctx, index)
	case status.Leader == 0:
		return 0, 0, ErrNoLeader
	}
	type counts struct{ have, total int }
	reply := make(chan counts, 1)
	n.rooms.Transport.Holders(status.Leader, index, func(have, total int) { reply <- counts{have, total} })
	select {
	case c := <-reply:
		return c.have, c.total, nil
	case <-n.done:
		return 0, 0, ErrStopped
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
}

// Stats are the node's queues, for metrics.
type Stats struct {
	QueuedCommands  int
	InflightBatches int
	GatheredBatches int // of other members, which the leader has yet to propose
	QueuedWrites    int
	QueuedApplies   int
	DroppedMessages uint64
	// Rounds of reads that this member confirmed as leader: by its lease, or by
	// an exchange with a quorum.
	ReadsByLease, ReadsByQuorum uint64
	Slowness                    Slowness
}

// Stats returns the lengths of the node's queues.
func (n *Node) Stats() Stats {
	commands, batches := n.core.proposals.queued()
	byLease, byQuorum := n.core.ReadRounds()
	return Stats{
		QueuedCommands: commands, InflightBatches: batches, GatheredBatches: int(n.core.gathered.waiting.Load()),
		QueuedWrites: n.writes.len(), QueuedApplies: n.applies.len(),
		DroppedMessages: n.inbox.droppedCount(),
		ReadsByLease:    byLease, ReadsByQuorum: byQuorum, Slowness: n.core.Slowness(),
	}
}
