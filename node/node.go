package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Rooms are what a node works with. It owns none of them: the caller closes
// them after Stop.
type Rooms struct {
	Log       Log
	State     StateMachine
	Snapshots Snapshots
	Transport Transport
}

// Node runs a Core on goroutines: whoever has something for it, the ticker, the
// log writer, the applier and, now and then, a flush.
type Node struct {
	cfg   Config
	rooms Rooms
	core  *Core
	inbox *inbox
	turn  turn

	commitsDue *time.Timer // the turn's

	writes  *taskQueue[Write]
	applies *taskQueue[Apply]

	status   atomic.Pointer[Status]
	watch    *statusWatch
	stopping chan struct{}
	stopOnce sync.Once
	workers  sync.WaitGroup
	done     chan struct{} // closed when every goroutine has ended
	err      error         // why the node stopped by itself; valid after done
	errOnce  sync.Once
}

// Start runs a member until Stop, or until a room fails (invariant 6).
func Start(cfg Config, rooms Rooms) (*Node, error) {
	cfg.EnsureDefaults()
	core, err := NewCore(cfg, rooms.Log, rooms.Snapshots)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, rooms: rooms, core: core, inbox: newInbox(&core.cfg),
		writes: newTaskQueue[Write](), applies: newTaskQueue[Apply](),
		watch: newStatusWatch(), stopping: make(chan struct{}), done: make(chan struct{}),
		turn: newTurn(),
	}
	n.status.Store(&Status{ID: cfg.ID, Applied: cfg.Applied})
	n.commitsDue = time.AfterFunc(time.Hour, func() { n.call((*Core).CommitsDue) }) // set by those who drive
	n.workers.Go(n.ticks)
	n.workers.Go(n.writeLog)
	n.workers.Go(n.apply)
	go func() {
		n.workers.Wait()
		close(n.done)
	}()
	return n, nil
}

// Stop ends the node and waits for its goroutines. Everything that waits is
// answered.
func (n *Node) Stop() {
	n.stop(nil)
	<-n.done
}

// Done is closed when the node has stopped, by Stop or by itself.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the node stopped by itself; nil after Stop. Valid after Done.
func (n *Node) Err() error { return n.err }

func (n *Node) stop(err error) {
	if err != nil {
		n.errOnce.Do(func() { n.err = err })
	}
	n.stopOnce.Do(func() {
		close(n.stopping)
		n.writes.close()
		n.applies.close()
	})
}

// deliver hands the core what has come in. Completions go first: they free
// what later items need.
func (n *Node) deliver(in *items) {
	for _, w := range in.writes {
		n.core.WriteDone(w.bytes, w.own)
	}
	for _, a := range in.applied {
		n.core.ApplyDone(a.Task, a.Conf)
	}
	for _, m := range in.messages {
		n.core.Step(m)
	}
	for _, l := range in.leases {
		n.core.StepLease(l.from, l.message)
	}
	for _, f := range in.forwarded {
		n.core.StepForwarded(f.from, f.batch)
	}
	for _, call := range in.calls {
		call(n.core)
	}
}

// round lets the core decide and carries out what it decided.
func (n *Node) round() {
	out := n.core.Output()
	if err := n.core.Fatal(); err != nil {
		n.stop(err)
		return
	}
	// Those who wait for an answer come before the followers that are to hear
	// what is committed.
	n.applies.put(out.Applies)
	if len(out.Messages) > 0 {
		n.rooms.Transport.Send(out.Messages)
	}
	if len(out.Leases) > 0 {
		n.rooms.Transport.SendLeases(out.Leases)
	}
	for _, f := range out.Forwards {
		n.rooms.Transport.Forward(f.To, f.Batch)
	}
	n.writes.put(out.Writes)
	if out.Flush {
		n.workers.Go(func() { n.flush(out.FlushedEnough) })
	}
	if out.CampaignAfter > 0 {
		time.AfterFunc(out.CampaignAfter, func() { n.call((*Core).CampaignDue) })
	}
	if out.CommitsAfter > 0 {
		n.commitsDue.Reset(out.CommitsAfter)
	}
	if status := n.core.Status(); status != *n.status.Load() {
		n.status.Store(&status)
		n.watch.changed(status)
	}
}

// writeLog makes writes durable and lets the messages go that depended on them.
func (n *Node) writeLog() {
	for {
		group := n.writes.take()
		if group == nil {
			return
		}
		responses, bytes, err := Persist(n.rooms.Log, group)
		if err != nil {
			n.stop(err)
			return
		}
		own, others := splitResponses(n.cfg.ID, responses)
		if len(others) > 0 {
			n.rooms.Transport.Send(others)
		}
		n.inbox.put(func(i *items) { i.writes = append(i.writes, writeDone{bytes, own}) })
		n.drive()
	}
}

func splitResponses(id uint64, all []*raftpb.Message) (own, others []*raftpb.Message) {
	for _, m := range all {
		if m.GetTo() == id {
			own = append(own, m)
		} else {
			others = append(others, m)
		}
	}
	return own, others
}

func (n *Node) apply() {
	for {
		tasks := n.applies.take()
		if tasks == nil {
			return
		}
		err := Execute(n.rooms.State, n.rooms.Snapshots, tasks, n.core.Answer, func(done []Applied) {
			n.inbox.put(func(i *items) { i.applied = append(i.applied, done...) })
			n.drive()
		})
		if err != nil {
			n.stop(err)
			return
		}
	}
}

// flush makes the state machine durable so that the log behind it can go. At
// most one runs at a time: the core asks again only after FlushDone.
func (n *Node) flush(enough uint64) {
	durable, err := Flush(n.rooms.State, enough)
	if err != nil {
		n.stop(err)
		return
	}
	n.call(func(c *Core) { c.FlushDone(durable) })
}

// call has f called with the core, soon; never after the node has stopped.
func (n *Node) call(f func(*Core)) {
	n.inbox.put(func(i *items) { i.calls = append(i.calls, f) })
	n.drive()
}

// Propose replicates a command and returns the state machine's answer with the
// index of its entry. Errors of this package say what is known of the
// command's fate; any other error is the state machine's refusal.
func (n *Node) Propose(ctx context.Context, command []byte) (any, uint64, error) {
	pending, err := n.Enqueue(command)
	if err != nil {
		return nil, 0, err
	}
	return n.Await(ctx, pending)
}

// Enqueue hands a command over for Await. Commands of one caller are packed in
// the order of its calls.
func (n *Node) Enqueue(command []byte) (*Pending, error) {
	pending, err := n.core.Propose(command)
	if err == nil {
		n.drive()
	}
	return pending, err
}

// Await waits for what Enqueue returned, and answers like Propose.
func (n *Node) Await(ctx context.Context, pending *Pending) (any, uint64, error) {
	select {
	case r := <-pending.Done():
		return r.Value, r.Index, r.Err
	case <-ctx.Done():
		r := n.core.Abandon(pending)
		return r.Value, r.Index, explainAbandoned(ctx, r.Err)
	}
}

// explainAbandoned adds to what is known of a command's fate why nobody waits
// for it any more.
func explainAbandoned(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotApplied) || errors.Is(err, ErrUnknownOutcome) {
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return err
}

// ReadIndex returns once a read of the local state machine is linearizable.
func (n *Node) ReadIndex(ctx context.Context) error {
	round, wake, err := n.core.Read()
	if err != nil {
		return err
	}
	if wake {
		n.drive()
	}
	select {
	case <-round.Done():
		return round.Err()
	case <-ctx.Done():
		return fmt.Errorf("%w (%w)", ErrReadTimeout, context.Cause(ctx))
	}
}

// Step takes a message of a peer; it never blocks, and drops when overloaded.
// Delivered has to follow.
func (n *Node) Step(m *raftpb.Message) {
	if !n.inbox.message(m) && m.GetType() == raftpb.MsgSnap {
		n.rooms.Snapshots.Refused(m.GetSnapshot())
	}
}

// StepForwarded takes a batch of proposals that another member packed. Delivered
// has to follow.
func (n *Node) StepForwarded(from uint64, batch []byte) { n.inbox.forward(from, batch) }

// StepLease takes what a member says about leader leases. Delivered has to follow.
func (n *Node) StepLease(from uint64, m LeaseMessage) { n.inbox.lease(from, m) }

// Delivered says that all messages are there that came together.
func (n *Node) Delivered() { n.drive() }

// SetLeaderLease is Core.SetLeaderLease. On return nothing is promised any more
// for another length.
func (n *Node) SetLeaderLease(ctx context.Context, length time.Duration) error {
	set := make(chan struct{})
	n.call(func(c *Core) { c.SetLeaderLease(length); close(set) })
	select {
	case <-set:
		return nil
	case <-n.done:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("set the leader lease: %w", context.Cause(ctx))
	}
}

// ReportUnreachable is the transport's word that messages to id were lost.
func (n *Node) ReportUnreachable(id uint64) { n.call(func(c *Core) { c.ReportUnreachable(id) }) }

// PeerDown is the transport's word that a member closed its connection.
func (n *Node) PeerDown(id uint64) { n.call(func(c *Core) { c.PeerDown(id) }) }

// ReportSnapshot is the transport's word on how streaming a snapshot ended.
func (n *Node) ReportSnapshot(id uint64, ok bool) {
	n.call(func(c *Core) { c.ReportSnapshot(id, ok) })
}

// Status returns the member's view of itself.
func (n *Node) Status() Status { return *n.status.Load() }
