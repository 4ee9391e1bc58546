package node

import (
	"testing"
)

// The news of a commit rides on the next append: a put of a client that writes
// one after the other costs a follower one message, not two.
func TestCommitRidesOnTheNextAppend(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.settle()
	follower := other(3, leader)
	c.hasty = true
	put := func() uint64 {
		t.Helper()
		p := c.propose(leader, "x")
		c.settle()
		r, ok := result(p)
		if !ok || r.Err != nil {
			t.Fatalf("%+v answered=%v", r, ok)
		}
		return r.Index
	}
	before := c.sent[follower]
	put()
	if got := c.sent[follower] - before; got != 2 {
		t.Fatalf("a put when puts are seldom cost the follower %d messages, want an append and the news of its commit", got)
	}
	for range c.members[leader].core.cfg.TickInterval / commitPause {
		put()
	}
	c.tick(1) // from now on puts count as frequent
	c.settle()
	last := put()
	for range 5 {
		before := c.sent[follower]
		next := put()
		if got := c.sent[follower] - before; got != 1 {
			t.Fatalf("a put cost the follower %d messages, want 1", got)
		}
		if got := c.members[follower].core.Status().Commit; got != last {
			t.Fatalf("the follower knows commit %d after the append of %d, want %d", got, next, last)
		}
		last = next
	}
	c.members[leader].core.CommitsDue()
	c.settle()
	if got := c.members[follower].core.Status().Commit; got != last {
		t.Fatalf("the follower knows commit %d when the pause is over, want %d", got, last)
	}
	c.tick(1) // there were too few in this one
	c.settle()
	before = c.sent[follower]
	put()
	if got := c.sent[follower] - before; got != 2 {
		t.Fatalf("a put when puts are seldom again cost the follower %d messages, want 2", got)
	}
}

// Whoever waits on a follower does not pay for it: its own writes and reads are
// not held up.
func TestCommitIsNotHeldForAFollowerThatWaits(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.settle()
	follower := other(3, leader)
	c.hasty = true
	c.members[leader].core.commits.often = true
	p := c.propose(follower, "x")
	c.settle()
	if r, ok := result(p); !ok || r.Err != nil {
		t.Fatalf("a write by the follower: %+v answered=%v", r, ok)
	}
	reader := other(3, leader, follower)
	q := c.propose(leader, "y")
	c.settle()
	if r, ok := result(q); !ok || r.Err != nil {
		t.Fatalf("%+v answered=%v", r, ok)
	}
	round, _, err := c.members[reader].core.Read()
	if err != nil {
		t.Fatal(err)
	}
	c.settle()
	select {
	case <-round.Done():
		if round.Err() != nil {
			t.Fatal(round.Err())
		}
	default:
		t.Fatal("a read by a follower waits for a commit that is held")
	}
}
