package node

import (
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

const backlogTestMax = 1000

// propose200 has the leader write as many commands of about 200 bytes, one by one,
// and returns how many were answered.
func (c *cluster) propose200(leader uint64, n int) (answered int) {
	c.t.Helper()
	for range n {
		p := c.propose(leader, strings.Repeat("x", 200))
		c.settle()
		if r, ok := result(p); ok && r.Err == nil {
			answered++
		}
	}
	return answered
}

func backlogCluster(t *testing.T) (c *cluster, leader uint64) {
	c = newCluster(t, 3, func(cfg *Config) { cfg.BacklogBytesMax = backlogTestMax; cfg.WindowBatches = 100 })
	leader = c.elect()
	c.tick(2)
	return c, leader
}

// What a follower has not applied stays within bounds, since it acknowledges
// nothing beyond; as soon as it has applied, everything goes on.
func TestAFollowerThatIsBehindAcknowledgesNothing(t *testing.T) {
	c, leader := backlogCluster(t)
	c.cut[other(3, leader)] = true
	c.tick(30) // until the leader waits for it no more
	slow := other(3, leader, other(3, leader))
	c.idle = map[uint64]bool{slow: true}
	answered := c.propose200(leader, 30)
	core := c.members[slow].core
	if held := core.backlog.log.beyond(core.applied); answered == 30 || answered == 0 || held > 3*backlogTestMax {
		t.Fatalf("%d of 30 commands committed, %d bytes wait for the follower to apply them, with a bound of %d", answered, held, backlogTestMax)
	}
	if got := core.Slowness(); got.AcksHeld == 0 || got.TicksWaited > 0 {
		t.Fatalf("the follower counts %+v", got)
	}
	c.idle[slow] = false
	c.tick(1)
	c.tick(1)
	if got := c.propose200(leader, 30); got != 30 {
		t.Fatalf("%d of 30 commands committed once the follower had caught up", got)
	}
	if len(c.members[leader].state.commands) != 60 {
		t.Fatalf("%d commands applied, want 60", len(c.members[leader].state.commands))
	}
}

// Nothing is held back while all that is committed is applied, however much is
// not committed: else nothing ever would be.
func TestAFollowerAcknowledgesWhatTheNextCommitWaitsFor(t *testing.T) {
	c, leader := backlogCluster(t)
	c.cut[other(3, leader)], c.cut[other(3, leader, other(3, leader))] = true, true
	for range 30 {
		c.propose(leader, strings.Repeat("x", 200))
		c.settle()
	}
	clear(c.cut)
	c.tick(10)
	c.tick(10)
	for id, m := range c.members {
		if got := len(m.state.commands); got != 30 {
			t.Fatalf("member %d applied %d commands, want 30", id, got)
		}
	}
}

// The leader waits for a follower that kept up, but lets a proposal pass with
// each tick, and waits no longer for one that is far behind.
func TestALeaderWaitsForAFollowerThatKeptUp(t *testing.T) {
	c, leader := backlogCluster(t)
	slow := other(3, leader)
	c.idle = map[uint64]bool{slow: true}
	answered := c.propose200(leader, 60)
	if answered == 0 || answered > 40 {
		t.Fatalf("%d of 60 commands committed while a follower was behind", answered)
	}
	if got := c.members[leader].core.Slowness(); got.TicksWaited != 1 {
		t.Fatalf("the leader waited in one tick, and counts %+v", got)
	}
	commands := func() int { return len(c.members[leader].state.commands) }
	before := commands()
	if c.tick(1); commands() == before {
		t.Fatal("nothing was proposed with a tick")
	}
	c.tick(60)
	if got := c.propose200(leader, 20); got != 20 {
		t.Fatalf("%d of 20 commands committed beside a follower that is far behind", got)
	}
	if c.members[leader].core.backlog.abreast[slow] != nil {
		t.Fatal("the leader still waits for it")
	}
	c.idle[slow] = false
	c.tick(20)
	if c.members[leader].core.backlog.abreast[slow] == nil || len(c.members[slow].state.commands) != commands() {
		t.Fatalf("after it has caught up: %d of %d commands applied", len(c.members[slow].state.commands), commands())
	}
}

// One that is gone is not waited for as soon as the transport has noticed.
func TestALeaderDoesNotWaitForAFollowerThatIsGone(t *testing.T) {
	c, leader := backlogCluster(t)
	gone := other(3, leader)
	c.cut[gone] = true
	if got := c.propose200(leader, 60); got == 60 {
		t.Fatal("the leader did not wait for a follower that may only be slow")
	}
	c.members[leader].core.ReportUnreachable(gone)
	c.settle()
	if got := c.propose200(leader, 60); got != 60 {
		t.Fatalf("%d of 60 commands committed without it", got)
	}
}

// One whose disk hangs while it answers heartbeats makes the others wait for an
// election timeout, or as long as is configured, however small the load is.
func TestALeaderDoesNotWaitLongForAFollowerThatStandsStill(t *testing.T) {
	for _, patience := range []int{0, 3} {
		c, leader := backlogCluster(t)
		core := c.members[leader].core
		if patience > 0 {
			core.cfg.BacklogTicksMax = patience
		}
		stuck := other(3, leader)
		c.stuck = map[uint64]bool{stuck: true}
		ticks := 0
		for range 300 {
			p := c.propose(leader, strings.Repeat("x", 20))
			c.settle()
			for ; ; ticks++ {
				if _, ok := result(p); ok {
					break
				}
				if got := core.WaitsFor(); !slices.Equal(got, []uint64{stuck}) {
					t.Fatalf("a put waits for members %v, want %d", got, stuck)
				}
				c.tick(1)
			}
		}
		if most := core.cfg.BacklogTicksMax + 2; ticks == 0 || ticks > most {
			t.Fatalf("300 puts waited for %d ticks in all, want some and at most %d", ticks, most)
		}
		if got := core.WaitsFor(); len(got) > 0 {
			t.Fatalf("it still waits for members %v", got)
		}
		if got := c.members[stuck].core.WaitsFor(); len(got) > 0 {
			t.Fatalf("a follower waits for members %v", got)
		}
	}
}

// A follower that is behind does not keep a new leader from leading.
func TestANewLeaderDoesNotWaitForAFollowerThatIsBehind(t *testing.T) {
	c, leader := backlogCluster(t)
	slow := other(3, leader)
	next := other(3, leader, slow)
	c.idle = map[uint64]bool{slow: true}
	c.propose200(leader, 20)
	if !c.members[slow].core.behindApplying() {
		t.Fatal("the follower is not behind")
	}
	c.cut[leader] = true
	for range 100 {
		if c.tick(1); c.members[next].core.Status().Role == Leader {
			break
		}
	}
	c.tick(2)
	core := c.members[next].core
	if core.Status().Role != Leader || core.appliedTerm != core.Status().Term {
		t.Fatalf("after the leader had died: %+v, applied an entry of term %d last", core.Status(), core.appliedTerm)
	}
	round, _, err := core.Read()
	if err != nil {
		t.Fatal(err)
	}
	c.settle()
	select {
	case <-round.Done():
	default:
		t.Fatal("a read waits for the follower to apply")
	}
}

// Neither learners nor the leader itself count: no quorum needs the ones, and the
// other's log has its own bound.
func TestALeaderWaitsForNoLearner(t *testing.T) {
	c, leader := backlogCluster(t)
	learner := c.add(nil)
	c.mustChange(leader, raftpb.ConfChangeAddLearnerNode, learner, "add")
	c.tick(5)
	c.idle = map[uint64]bool{learner: true}
	if got := c.propose200(leader, 60); got != 60 {
		t.Fatalf("%d of 60 commands committed beside a learner that is behind", got)
	}
	if known := c.members[leader].core.backlog.abreast; len(known) != 2 || known[leader] != nil || known[learner] != nil {
		t.Fatalf("the leader %d would wait for %v", leader, known)
	}
}

// An acknowledgement that waits leaves behind the writes before it (invariant 1),
// and not in another term.
func TestAnAcknowledgementThatWaitsBelongsToItsTerm(t *testing.T) {
	c, leader := backlogCluster(t)
	slow := other(3, leader)
	c.idle = map[uint64]bool{slow: true}
	c.propose200(leader, 20)
	core := c.members[slow].core
	held := core.backlog.held
	if held == nil || held.GetTo() != leader {
		t.Fatalf("the follower holds %v back", held)
	}
	core.Step(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(other(3, leader, slow)), To: new(slow), Term: new(held.GetTerm() + 1)})
	core.ApplyDone(Apply{Entries: []*raftpb.Entry{{Index: new(held.GetIndex()), Term: new(held.GetTerm())}}}, nil)
	for _, w := range core.Output().Writes {
		for _, m := range w.Responses {
			if m.GetType() == raftpb.MsgAppResp && m.GetTerm() == held.GetTerm() {
				t.Fatalf("%v left in the next term", m)
			}
		}
	}
	if core.backlog.held != nil {
		t.Fatal("it is still held")
	}
}
