package node

import (
	"fmt"
	"testing"
)

// While appends are under way, batches of all members come together and cost one
// more append; a lone one leaves at once.
func TestBatchesThatComeMeanwhileShareAnAppend(t *testing.T) {
	c := newCluster(t, 5, func(cfg *Config) { cfg.AppendsMax = 1 })
	leader := c.elect()
	c.settle()
	core := c.members[leader].core
	appends := 0
	follower := other(5, leader)
	count := func() (out Output) {
		out = core.Output()
		for _, m := range out.Messages {
			if m.GetTo() == follower && len(m.GetEntries()) > 0 {
				appends++
			}
		}
		return out
	}
	batch := func(from uint64, number int) {
		core.StepForwarded(from, c.members[from].core.cfg.Pack(uint64(1000+number), [][]byte{fmt.Append(nil, from, number)}))
	}
	batch(other(5, leader), 0)
	first := count()
	if appends != 1 || len(first.Writes) != 1 || len(first.Writes[0].Entries) != 1 {
		t.Fatalf("a lone batch: %d appends, writes %v", appends, first.Writes)
	}
	for number := 1; number <= 2; number++ {
		for id := uint64(1); id <= 5; id++ {
			if id != leader {
				batch(id, number)
			}
		}
		if out := count(); appends != 1 || len(out.Writes) != 0 {
			t.Fatalf("%d appends while one was under way", appends)
		}
	}
	own := c.propose(leader, "own")
	core.gathered.ends = nil // as if it were committed
	out := count()
	if appends != 2 || len(out.Writes) != 1 || len(out.Writes[0].Entries) != 9 {
		t.Fatalf("%d appends, the second with %d entries, want one with all 9", appends, len(out.Writes[0].Entries))
	}
	if _, done := result(own); done {
		t.Fatal("answered before it was committed")
	}
}

// A leader without a quorum keeps no more for others than it may, and hands
// nothing of it to its next term: those who wait hand it over again.
func TestGatheredBatchesAreBoundedAndBelongToATerm(t *testing.T) {
	var g gathered
	if !g.room(1, 0, 1) {
		t.Fatal("no room at the start")
	}
	for i := range 10 {
		if took := g.add(make([]byte, 100), 350); took != (i < 3) {
			t.Fatalf("batch %d of 100 bytes taken: %v, with a bound of 350", i, took)
		}
	}
	if !g.room(2, 0, 1) || g.bytes != 0 || g.take() != nil {
		t.Fatalf("the next term begins with %d bytes", g.bytes)
	}
	if !g.add(make([]byte, 400), 350) {
		t.Fatal("a batch that is larger than the bound has to pass when there is no other")
	}
}

// A proposal is no larger than an append may be, unless it is one batch.
func TestProposalsAreDivided(t *testing.T) {
	var g gathered
	for _, size := range []int{proposalBytesMax - 10, 10, 1, 2 * proposalBytesMax, 5} {
		g.add(make([]byte, size), 1<<30)
	}
	for i, want := range []int{2, 1, 1, 1, 0} {
		if got := len(g.take()); got != want {
			t.Fatalf("proposal %d holds %d batches, want %d", i, got, want)
		}
	}
	if g.bytes != 0 {
		t.Fatalf("%d bytes left of nothing", g.bytes)
	}
}

// Those for whom a commit is not held hear of it by the next append, if that
// leaves with it.
func TestCommitForAFollowerThatWaitsIsOneMessage(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.AppendsMax, cfg.WindowBatches = 1, 1 })
	leader := c.elect()
	c.settle()
	follower := other(3, leader)
	c.hasty = true
	before := c.sent[follower]
	var pendings []*Pending
	const n = 10
	for i := range n {
		pendings = append(pendings, c.propose(leader, fmt.Sprint("l", i)), c.propose(follower, fmt.Sprint("f", i)))
		c.round(leader)
		c.round(follower)
	}
	c.settle()
	for i, p := range pendings {
		if r, ok := result(p); !ok || r.Err != nil {
			t.Fatalf("command %d: %+v answered=%v", i, r, ok)
		}
	}
	appends := int(c.members[leader].core.Status().Last) // at most one message for each, and one for the last commit
	if sent := c.sent[follower] - before; sent > appends+1 {
		t.Fatalf("%d messages to a follower for %d entries", sent, appends)
	}
}
