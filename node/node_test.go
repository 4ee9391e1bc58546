package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// wire connects nodes in one process.
type wire struct {
	mu    sync.Mutex
	nodes map[uint64]*Node
	cut   map[uint64]bool
}

type port struct {
	*wire
	from uint64
}

func (p port) to(id uint64) *Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut[p.from] || p.cut[id] {
		return nil
	}
	return p.nodes[id]
}

func (p port) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		if n := p.to(m.GetTo()); n != nil {
			n.Step(m)
			n.Delivered()
		}
	}
}

func (p port) SendLeases(messages []LeaseMessage) {
	for _, m := range messages {
		if n := p.to(m.To); n != nil {
			n.StepLease(p.from, m)
			n.Delivered()
		}
	}
}

func (p port) Forward(to uint64, batch []byte) {
	if n := p.to(to); n != nil {
		n.StepForwarded(p.from, batch)
		n.Delivered()
	}
}

func (p port) Holders(to, index uint64, reply func(have, total int)) {
	n := p.to(to)
	if n == nil {
		reply(0, 0)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		have, total, _ := n.Holders(ctx, index)
		reply(have, total)
	}()
}

func startNodes(t *testing.T, count int, states []*countState) *wire {
	w := &wire{nodes: map[uint64]*Node{}, cut: map[uint64]bool{}}
	conf := &raftpb.ConfState{}
	for id := uint64(1); id <= uint64(count); id++ {
		conf.Voters = append(conf.Voters, id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range conf.Voters {
		state := states[id-1]
		state.applied, state.seen = 1, map[[3]uint64]bool{}
		n, err := Start(Config{ID: id, Boot: 1, Applied: 1, Pack: packTest(id, 1), InitialTickAdvance: true},
			Rooms{Log: newMemLog(conf), State: state, Snapshots: noSnapshots{}, Transport: port{w, id}})
		if err != nil {
			t.Fatal(err)
		}
		w.nodes[id] = n
	}
	return w
}

func (w *wire) stop() {
	for _, n := range w.nodes {
		n.Stop()
	}
}

func (w *wire) leader(t *testing.T) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := w.nodes[1]
	if err := n.WaitFor(ctx, func(s Status) bool { return s.Leader != 0 }); err != nil {
		t.Fatal(err)
	}
	return n.Status().Leader
}

func TestNodesReplicateReadAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		states := []*countState{{}, {}, {}}
		w := startNodes(t, 3, states)
		w.leader(t)
		var clients sync.WaitGroup
		for id, n := range w.nodes {
			clients.Go(func() {
				v, index, err := n.Propose(t.Context(), []byte("x"))
				if err != nil || v != "did x" {
					t.Errorf("member %d: %v, %v", id, v, err)
				}
				if err := n.ReadIndex(t.Context()); err != nil {
					t.Errorf("member %d reads: %v", id, err)
				}
				if have, total, err := n.HoldersOf(t.Context(), index); err != nil || have != 3 || total != 3 {
					t.Errorf("member %d counts %d of %d, %v", id, have, total, err)
				}
			})
		}
		clients.Wait()
		synctest.Wait()
		w.stop()
		for _, s := range states {
			if want := []string{"x", "x", "x"}; !slices.Equal(s.commands, want) {
				t.Fatalf("applied %v, want %v", s.commands, want)
			}
		}
	})
}

func TestDeadlinesSayWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 3, []*countState{{}, {}, {}})
		leader := w.leader(t)
		w.mu.Lock()
		w.cut[leader] = true
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		n := w.nodes[leader]
		if _, _, err := n.Propose(ctx, []byte("x")); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("proposed to a leader that is cut off: %v", err)
		}
		if err := n.ReadIndex(ctx); !errors.Is(err, ErrReadTimeout) {
			t.Errorf("read on a leader that is cut off: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		// CheckQuorum has deposed it by then, and the first batch still fills no
		// window, so the command waits for a leader.
		if err := n.WaitFor(ctx, func(s Status) bool { return s.Leader == 0 }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := n.Propose(ctx, []byte("y")); !errors.Is(err, ErrNotApplied) {
			t.Errorf("proposed without a leader: %v", err)
		}
		w.stop()
	})
}

func TestHandOverMovesLeadershipBeforeAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 3, []*countState{{}, {}, {}})
		old := w.leader(t)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := w.nodes[old].HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if s := w.nodes[old].Status(); s.Leader == 0 || s.Leader == old {
			t.Fatalf("leader is %d after a hand-over by %d", s.Leader, old)
		}
		w.stop()
	})
}

func TestStopAnswersEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 3, []*countState{{}, {}, {}})
		leader := w.leader(t)
		w.mu.Lock()
		w.cut[leader] = true
		w.mu.Unlock()
		n := w.nodes[leader]
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, _, err := n.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("in flight at the stop: %v", err)
			}
		})
		waiting.Go(func() {
			if err := n.ReadIndex(t.Context()); !errors.Is(err, ErrStopped) {
				t.Errorf("reading at the stop: %v", err)
			}
		})
		synctest.Wait()
		w.stop()
		waiting.Wait()
		if _, _, err := n.Propose(t.Context(), []byte("y")); !errors.Is(err, ErrStopped) {
			t.Errorf("after the stop: %v", err)
		}
		if n.Err() != nil {
			t.Errorf("an ordinary stop reports %v", n.Err())
		}
	})
}

func TestFailureOfTheStateMachineStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 1, []*countState{{failAt: 3}})
		w.leader(t)
		n := w.nodes[1]
		if _, _, err := n.Propose(t.Context(), []byte("x")); err == nil {
			t.Error("a command was answered although it could not be applied")
		}
		<-n.Done()
		if n.Err() == nil {
			t.Error("the node stopped without saying why")
		}
	})
}
