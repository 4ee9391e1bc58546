package node

import (
	"testing"
)

// A follower is told of a commit by an empty append. What it writes and answers
// then can wait for the next entry, or the next tick; nothing else can.
func TestCommitAloneCostsAFollowerNoWrite(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.settle()
	follower := c.members[other(3, leader)]
	for range 3 {
		before := follower.log.appends
		p := c.propose(leader, "x")
		c.settle()
		if r, ok := result(p); !ok || r.Err != nil {
			t.Fatalf("%+v answered=%v", r, ok)
		}
		if got := follower.log.appends - before; got != 1 {
			t.Fatalf("a put cost the follower %d appends to its log, want 1", got)
		}
		if got := follower.core.Status().Commit; got != c.members[leader].core.Status().Commit {
			t.Fatalf("the follower knows commit %d, the leader %d", got, c.members[leader].core.Status().Commit)
		}
	}
	before := follower.log.appends
	c.tick(1)
	if got := follower.log.appends - before; got != 1 {
		t.Fatalf("%d appends at the tick, want 1 for the commit index", got)
	}
	hs, _, err := follower.log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hs.GetCommit(), follower.core.Status().Commit; got != want {
		t.Fatalf("the log knows commit %d after the tick, want %d", got, want)
	}
}

// A leader whose disk is slower than those of its followers learns of the commit
// while its own write is under way: what raft asks about then is answered by that
// write already.
func TestCommitDuringAWriteCostsTheLeaderNoOther(t *testing.T) {
	c := newCluster(t, 3, nil)
	id := c.elect()
	c.settle()
	c.stuck = map[uint64]bool{id: true}
	p := c.propose(id, "x")
	c.settle()
	leader := c.members[id]
	if got, want := leader.core.Status().Commit, leader.core.Status().Applied+1; got != want {
		t.Fatalf("commit %d, want %d: the followers have the entry", got, want)
	}
	if got := len(leader.stuck); got != 1 {
		t.Fatalf("a put made %d writes of the leader, want 1", got)
	}
	c.stuck = nil
	c.carry(id, Output{Writes: leader.stuck})
	c.settle()
	if r, ok := result(p); !ok || r.Err != nil {
		t.Fatalf("%+v answered=%v", r, ok)
	}
}
