package node

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// The core is driven by one goroutine at a time, and whatever came while it was
// being driven is seen to without a tick.
func TestWhatComesDuringATurnIsSeenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 1, []*countState{{}})
		n := w.nodes[1]
		defer n.Stop()
		synctest.Wait()

		var inside, most, calls atomic.Int64
		visit := func(*Core) {
			most.Store(max(most.Load(), inside.Add(1)))
			calls.Add(1)
			inside.Add(-1)
		}
		n.turn.taken.Store(true) // somebody drives
		var callers sync.WaitGroup
		const many = 50
		for range many {
			callers.Go(func() { n.call(visit) })
		}
		callers.Wait() // they do not wait for the turn
		if got := calls.Load(); got != 0 {
			t.Fatalf("%d calls while another had the turn", got)
		}
		n.pass()
		synctest.Wait() // no time passes
		if got := calls.Load(); got != many {
			t.Fatalf("%d of %d calls were made when the turn was over", got, many)
		}
		for range many {
			callers.Go(func() { n.call(visit) })
		}
		callers.Wait()
		synctest.Wait()
		if calls.Load() != 2*many || most.Load() != 1 {
			t.Fatalf("%d of %d calls, up to %d at a time", calls.Load(), 2*many, most.Load())
		}
	})
}

// A command of a caller who finds nobody at work is proposed by that caller.
func TestWhoProposesDrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startNodes(t, 1, []*countState{{}})
		n := w.nodes[1]
		defer n.Stop()
		synctest.Wait()
		pending, err := n.Enqueue([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if commands, batches := n.core.proposals.queued(); commands != 0 || batches > 1 {
			t.Fatalf("%d commands wait for somebody else", commands)
		}
		if r := <-pending.Done(); r.Err != nil {
			t.Fatal(r.Err)
		}
	})
}
