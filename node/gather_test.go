package node

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// While an append is under way, batches of all members come together and cost one
// more when it is committed; a lone one leaves at once.
func TestBatchesThatComeMeanwhileShareAnAppend(t *testing.T) {
	c := newCluster(t, 5, func(cfg *Config) { cfg.AppendsMax = 1 })
	leader := c.elect()
	c.settle()
	core := c.members[leader].core
	before := core.Status().Last
	pendings := map[string]*Pending{"first": c.propose(leader, "first")}
	first := core.Output()
	for id := uint64(1); id <= 5; id++ {
		if id != leader {
			pendings[fmt.Sprint("of ", id)] = c.propose(id, fmt.Sprint("of ", id))
			c.round(id)
		}
	}
	pendings["own"] = c.propose(leader, "own")
	if out := core.Output(); len(out.Writes) != 0 || len(core.gathered.batches) != 4 {
		t.Fatalf("with an append under way: %d writes, %d batches gathered, want none and 4", len(out.Writes), len(core.gathered.batches))
	}
	c.carry(leader, first)
	for id := uint64(1); id <= 5; id++ {
		if id != leader {
			c.round(id) // it acknowledges
		}
	}
	appends := 0
	out := core.Output()
	for _, m := range out.Messages {
		if m.GetTo() == other(5, leader) && len(m.GetEntries()) > 0 {
			appends++
			if got := len(m.GetEntries()); got != 5 {
				t.Fatalf("%d entries in the append, want those of all five", got)
			}
		}
	}
	if appends != 1 || len(out.Writes) != 1 {
		t.Fatalf("the commit led to %d appends, want one", appends)
	}
	c.carry(leader, out)
	c.settle()
	c.tick(1)
	for name, p := range pendings {
		if r, ok := result(p); !ok || r.Err != nil {
			t.Fatalf("%s: %+v answered=%v", name, r, ok)
		}
	}
	if got := core.Status().Last - before; got != 6 {
		t.Fatalf("%d entries for six batches", got)
	}
}

// While a leader's disk writes, what comes meanwhile waits for it and goes together,
// although another append could be under way.
func TestBatchesThatComeWhileTheDiskWritesShareAnAppend(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.AppendsMax = 2 })
	leader := c.elect()
	c.settle()
	core := c.members[leader].core
	before := core.Status().Last
	pendings := []*Pending{c.propose(leader, "first")}
	first := core.Output()
	for i := range 3 {
		pendings = append(pendings, c.propose(leader, fmt.Sprint(i)))
		if out := core.Output(); len(out.Writes) != 0 {
			t.Fatalf("%d writes while the disk writes", len(out.Writes))
		}
	}
	responses, bytes, err := Persist(c.members[leader].log, first.Writes)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := splitResponses(leader, responses)
	core.WriteDone(bytes, own)
	out := core.Output()
	if got := core.rn.BasicStatus().GetCommit(); got != before {
		t.Fatalf("commit index %d, want %d: nobody has acknowledged", got, before)
	}
	if len(out.Writes) != 1 || len(out.Writes[0].Entries) != 1 {
		t.Fatalf("the end of the write led to %d writes, want one with one entry", len(out.Writes))
	}
	first.Writes = nil // they are done
	c.carry(leader, first)
	c.carry(leader, out)
	c.settle()
	c.tick(1)
	for i, p := range pendings {
		if r, ok := result(p); !ok || r.Err != nil {
			t.Fatalf("%d: %+v answered=%v", i, r, ok)
		}
	}
}

// Whatever raft refuses while a transfer is under way that comes to nothing, and
// what waited before, is proposed when the leader goes on.
func TestWhatWaitsDuringATransferIsProposedAfterwards(t *testing.T) {
	for _, refused := range []bool{false, true} {
		c := newCluster(t, 3, func(cfg *Config) { cfg.AppendsMax = 1 })
		leader := c.elect()
		c.settle()
		gone := other(3, leader)
		follower := other(3, leader, gone)
		c.cut[gone] = true
		core := c.members[leader].core
		before := core.rn.BasicStatus()
		core.rn.TransferLeader(gone)
		own, theirs := c.propose(leader, "own"), c.propose(follower, "theirs")
		if refused {
			core.propose(before) // as if the transfer had begun just now
		}
		c.settle()
		if _, ok := result(own); ok {
			t.Fatal("proposed during a transfer")
		}
		c.tick(12)
		for name, p := range map[string]*Pending{"own": own, "theirs": theirs} {
			if r, ok := result(p); !ok || r.Err != nil {
				t.Fatalf("refused=%v: %s: %+v answered=%v", refused, name, r, ok)
			}
		}
	}
}

// A member keeps no more for others than it may, and nothing of another term: those
// who wait hand it over again.
func TestGatheredBatchesAreBoundedAndBelongToATerm(t *testing.T) {
	g := newGathered()
	g.begin(1)
	for i := range 10 {
		if took := g.add(make([]byte, 100), 350); took != (i < 3) {
			t.Fatalf("batch %d of 100 bytes taken: %v, with a bound of 350", i, took)
		}
	}
	if g.waiting.Load() != 3 {
		t.Fatalf("%d batches wait according to Stats, want 3", g.waiting.Load())
	}
	g.begin(2)
	if entries, _ := g.take(); entries != nil || g.bytes != 0 || g.waiting.Load() != 0 {
		t.Fatalf("the next term begins with %d bytes, %d batches", g.bytes, len(entries))
	}
	if !g.add(make([]byte, 400), 350) {
		t.Fatal("a batch that is larger than the bound has to pass when there is no other")
	}

	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.settle()
	core := c.members[leader].core
	core.StepForwarded(other(3, leader), core.cfg.Pack(1000, [][]byte{[]byte("x")}))
	core.Step(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(other(3, leader)), To: new(leader), Term: new(core.rn.BasicStatus().GetTerm() + 1)})
	core.Output()
	if got := len(core.gathered.batches); got != 0 {
		t.Fatalf("a deposed leader keeps %d batches", got)
	}
}

// What is proposed at once goes into one append, since raft would send a second one
// only when the first is acknowledged.
func TestProposalsFitIntoAppends(t *testing.T) {
	const large = 600 << 10
	c := newCluster(t, 3, func(cfg *Config) { cfg.AppendsMax, cfg.BatchBytesMax = 1, 2<<20 })
	leader := c.elect()
	c.settle()
	core := c.members[leader].core
	from := other(3, leader)
	for i, size := range []int{10, large, proposalBytesMax} {
		core.StepForwarded(from, core.cfg.Pack(uint64(1000+i), [][]byte{make([]byte, size)}))
	}
	c.propose(leader, string(make([]byte, large)))
	out := core.Output()
	sent := 0
	for _, m := range out.Messages {
		if m.GetTo() == from {
			sent += len(m.GetEntries())
		}
	}
	if written := len(out.Writes[0].Entries); sent != written || written != 3 {
		t.Fatalf("%d entries written and %d sent at once, want the two batches and the leader's own in both", written, sent)
	}
	if got := len(core.gathered.batches); got != 1 {
		t.Fatalf("%d batches left for the next proposal, want the one that is as large as an append", got)
	}
}

// The news of a commit for a follower that waits leaves with the next append, if
// there is one.
func TestCommitForAFollowerThatWaitsIsOneMessage(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.AppendsMax, cfg.WindowBatches = 1, 1 })
	leader := c.elect()
	c.settle()
	follower := other(3, leader)
	c.hasty = true
	messages, entries := c.sent[follower], c.members[leader].core.Status().Last
	var pendings []*Pending
	for i := range 10 {
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
	messages, entries = c.sent[follower]-messages, c.members[leader].core.Status().Last-entries
	if 2*messages >= 3*int(entries) { // by itself, the news of each commit makes it 16 for 10
		t.Fatalf("%d messages to a follower for %d entries", messages, entries)
	}
}
