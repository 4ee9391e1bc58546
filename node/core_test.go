package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

func other(n int, not ...uint64) uint64 {
	for id := uint64(1); id <= uint64(n); id++ {
		if !slices.Contains(not, id) {
			return id
		}
	}
	return 0
}

func TestProposalsOfEveryMemberAreAppliedEverywhere(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect()
	var pendings []*Pending
	for i := range 30 {
		pendings = append(pendings, c.propose(uint64(i%3+1), fmt.Sprint("c", i)))
	}
	c.settle()
	c.tick(1)
	for i, p := range pendings {
		r, ok := result(p)
		if !ok || r.Err != nil || r.Value != fmt.Sprint("did c", i) || r.Index == 0 {
			t.Fatalf("command %d: %+v answered=%v", i, r, ok)
		}
	}
	for id := uint64(2); id <= 3; id++ {
		if !slices.Equal(c.members[id].state.commands, c.members[1].state.commands) {
			t.Fatalf("member %d applied %v, member 1 %v", id, c.members[id].state.commands, c.members[1].state.commands)
		}
	}
	if got := len(c.members[1].state.commands); got != 30 {
		t.Fatalf("%d commands applied, want 30", got)
	}
}

func TestCommandsThatWaitShareAnEntry(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.settle()
	before := c.members[1].core.Status().Last
	for i := range 100 {
		c.propose(1, fmt.Sprint(i))
	}
	c.settle()
	if got := c.members[1].core.Status().Last - before; got != 1 {
		t.Fatalf("100 waiting commands took %d entries, want 1", got)
	}
}

// A batch proposed by a leader that is cut off survives in no log; the member
// hands it to the next leader by itself and the client sees only a delay.
func TestBatchOfADeposedLeaderIsHandedOn(t *testing.T) {
	c := newCluster(t, 3, nil)
	old := c.elect()
	c.cut[old] = true
	p := c.propose(old, "x")
	c.settle()
	next := c.elect()
	if _, ok := result(p); ok {
		t.Fatal("a minority answered a proposal")
	}
	c.cut[old] = false
	c.tick(3)
	r, ok := result(p)
	if !ok || r.Err != nil {
		t.Fatalf("after the old leader is back: %+v answered=%v", r, ok)
	}
	if got := c.members[next].state.commands; !slices.Equal(got, []string{"x"}) {
		t.Fatalf("applied %v, want x once", got)
	}
}

// A forward that is lost on the way is sent again; one that arrives twice is
// applied once.
func TestForwardIsRetriedAndAppliedOnce(t *testing.T) {
	for _, lose := range []bool{true, false} {
		c := newCluster(t, 3, nil)
		leader := c.elect()
		follower := other(3, leader)
		sent := 0
		c.drop = func(f Forward) bool {
			sent++
			if lose {
				return sent == 1
			}
			c.members[f.To].core.StepForwarded(follower, f.Batch) // and once more by the caller
			return false
		}
		p := c.propose(follower, "x")
		c.settle()
		c.tick(12)
		if r, ok := result(p); !ok || r.Err != nil {
			t.Fatalf("lose=%v: %+v answered=%v", lose, r, ok)
		}
		if got := c.members[leader].state.commands; !slices.Equal(got, []string{"x"}) {
			t.Fatalf("lose=%v: applied %v, want x once", lose, got)
		}
	}
}

func TestWithoutALeaderCommandsWaitAndCanBeAbandoned(t *testing.T) {
	c := newCluster(t, 3, nil)
	p := c.propose(1, "x")
	q := c.propose(1, "y")
	c.settle()
	if r := c.members[1].core.Abandon(p); !errors.Is(r.Err, ErrNotApplied) {
		t.Fatalf("abandoned before it was proposed: %v, want ErrNotApplied", r.Err)
	}
	c.elect()
	if r, ok := result(q); !ok || r.Err != nil {
		t.Fatalf("y: %+v answered=%v", r, ok)
	}
	if got := c.members[1].state.commands; !slices.Equal(got, []string{"y"}) {
		t.Fatalf("applied %v, want only y", got)
	}
}

func TestAbandonedAfterProposalIsUnknown(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.cut[leader] = true
	p := c.propose(leader, "x")
	c.settle()
	if r := c.members[leader].core.Abandon(p); !errors.Is(r.Err, ErrUnknownOutcome) {
		t.Fatalf("%v, want ErrUnknownOutcome", r.Err)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.QueueCommandsMax = 2; cfg.CommandBytesMax = 10 })
	c.propose(1, "a")
	c.propose(1, "b")
	if _, err := c.members[1].core.Propose([]byte("c")); !errors.Is(err, ErrBusy) {
		t.Fatalf("third command: %v, want ErrBusy", err)
	}
	if _, err := c.members[2].core.Propose(make([]byte, 11)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("large command: %v, want ErrTooLarge", err)
	}
}

func TestReadsShareARoundOnEveryMember(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.elect()
	for id := uint64(1); id <= 3; id++ {
		a, first, _ := c.members[id].core.Read()
		b, second, _ := c.members[id].core.Read()
		if a != b || !first || second {
			t.Fatalf("member %d: two reads that wait do not share a round", id)
		}
		c.settle()
		select {
		case <-a.Done():
		default:
			t.Fatalf("member %d: read not confirmed", id)
		}
	}
}

func TestReadWaitsOutAPartition(t *testing.T) {
	c := newCluster(t, 3, nil)
	old := c.elect()
	c.cut[old] = true
	round, _, _ := c.members[old].core.Read()
	c.settle()
	c.elect()
	select {
	case <-round.Done():
		t.Fatal("a deposed leader confirmed a read")
	default:
	}
	c.cut[old] = false
	c.tick(8)
	select {
	case <-round.Done():
	default:
		t.Fatal("the read was not asked again after the partition")
	}
}

// Messages that carry a promise wait for the write they promise (invariant 1).
func TestNoVoteAndNoAcknowledgementBeforeTheWrite(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	follower := other(3, leader)
	c.propose(leader, "x")
	out := c.members[leader].core.Output()
	for _, m := range out.Messages {
		if m.GetTo() == follower {
			c.members[follower].core.Step(m)
		}
	}
	got := c.members[follower].core.Output()
	for _, m := range got.Messages {
		if m.GetType() == raftpb.MsgAppResp || m.GetType() == raftpb.MsgVoteResp {
			t.Fatalf("%s left before the write", m.GetType())
		}
	}
	acknowledged := false
	for _, w := range got.Writes {
		for _, m := range w.Responses {
			acknowledged = acknowledged || m.GetType() == raftpb.MsgAppResp && m.GetTo() == leader
		}
	}
	if !acknowledged {
		t.Fatal("the acknowledgement is not a response of the write")
	}
}

func TestHoldersCountsDurableMembers(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	silent := other(3, leader)
	c.cut[silent] = true
	p := c.propose(leader, "x")
	c.settle()
	r, _ := result(p)
	h := NewHolderCount(r.Index)
	c.members[leader].core.AddHolderCount(h)
	c.settle()
	if have, total := h.Counts(); have != 2 || total != 3 {
		t.Fatalf("%d of %d hold the write, want 2 of 3", have, total)
	}
	c.cut[silent] = false
	c.tick(3)
	if have, total := h.Counts(); have != 3 || total != 3 {
		t.Fatalf("%d of %d hold the write, want 3 of 3", have, total)
	}
	f := NewHolderCount(r.Index)
	c.members[silent].core.AddHolderCount(f)
	c.settle()
	if have, total := f.Counts(); have != 0 || total != 0 {
		t.Fatalf("a follower counted %d of %d", have, total)
	}
}

func TestTransferMovesLeadership(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	p := c.propose(leader, "x")
	to := c.members[leader].core.TransferLeader()
	c.settle()
	c.tick(2)
	if got := c.members[leader].core.Status().Leader; to == 0 || got != to {
		t.Fatalf("leader is %d after a transfer to %d", got, to)
	}
	if r, ok := result(p); !ok || r.Err != nil {
		t.Fatalf("a command during the transfer: %+v answered=%v", r, ok)
	}
}

func TestFlushIsAskedForByBytes(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.FlushBytes = 100 })
	c.settle()
	core := c.members[1].core
	core.Propose(make([]byte, 200))
	if out := core.Output(); !out.Flush {
		t.Fatal("no flush after 200 bytes of log")
	}
	core.FlushDone(&raftpb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1))})
	out := core.Output()
	if len(out.Writes) != 1 || out.Writes[0].Release.GetIndex() != 1 {
		t.Fatalf("after the flush: %+v, want the log released to 1", out.Writes)
	}
}

func TestFlushIsAskedForByEntries(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.FlushEntries = 3 })
	c.settle()
	core := c.members[1].core
	// The harness drops what asks for a flush, and counts none as over.
	flushing := func() bool { return core.flushes.underWay }
	for written := 1; !flushing(); written++ { // the election wrote an entry
		if written > 3 {
			t.Fatalf("no flush after %d entries", written)
		}
		core.Propose([]byte("x"))
		c.settle()
	}
	core.FlushDone(&raftpb.SnapshotMetadata{Index: new(core.applied), Term: new(uint64(1))})
	for range 2 {
		core.Propose([]byte("x"))
		c.settle()
	}
	if flushing() {
		t.Error("another flush after 2 entries")
	}
	core.Propose([]byte("x"))
	if c.settle(); !flushing() {
		t.Error("no other flush after 3 entries")
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	err := (&Config{}).Validate()
	for _, want := range []string{"ID", "Boot", "Pack", "TickInterval", "QueueCommandsMax"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// Reads that arrive while all rounds are in flight start as soon as one ends,
// not at the next event.
func TestReadsThatWaitForARoundStartWhenOneEnds(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.ReadRoundsMax = 1 })
	leader := c.elect()
	follower := other(3, leader)
	core := c.members[follower].core
	first, _, _ := core.Read()
	ask := core.Output()
	second, _, _ := core.Read()
	for _, m := range ask.Messages {
		c.members[m.GetTo()].core.Step(m)
	}
	c.settle()
	for i, round := range []*ReadRound{first, second} {
		select {
		case <-round.Done():
		default:
			t.Fatalf("round %d is not confirmed", i+1)
		}
	}
}

func TestForwardedBatchIsCheckedBeforeItGetsIntoTheLog(t *testing.T) {
	var from uint64
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.Check = func(id uint64, batch []byte) error {
			from = id
			if !bytes.Contains(batch, []byte("good")) {
				return errors.New("bad batch")
			}
			return nil
		}
	})
	leader := c.elect()
	follower := other(3, leader)
	bad, good := c.propose(follower, "evil"), (*Pending)(nil)
	c.settle()
	good = c.propose(follower, "good")
	c.settle()
	if _, ok := result(bad); ok {
		t.Fatal("a batch that was refused got an answer")
	}
	if r, ok := result(good); !ok || r.Err != nil || from != follower {
		t.Fatalf("good batch of %d: %+v answered=%v, checked as of %d", follower, r, ok, from)
	}
}

// Without a leader, commands that were given up make room for others.
func TestAbandonedCommandsLeaveTheQueue(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.QueueCommandsMax, cfg.QueueBytesMax = 4, 1000 })
	core := c.members[1].core
	for i := range 100 {
		p := c.propose(1, strings.Repeat("x", 200))
		core.Abandon(p)
		if queued, _ := core.proposals.queued(); queued > 4 {
			t.Fatalf("%d commands in the queue after %d were given up", queued, i+1)
		}
	}
	last := c.propose(1, "y")
	c.elect()
	if r, ok := result(last); !ok || r.Err != nil {
		t.Fatalf("%+v answered=%v", r, ok)
	}
	if got := c.members[1].state.commands; !slices.Equal(got, []string{"y"}) {
		t.Fatalf("applied %v, want only y", got)
	}
}

// The log is kept for a follower that lives and lags, but not for ever.
func TestReleaseWaitsForALiveFollower(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	core := c.members[leader].core
	slow := other(3, leader)
	c.propose(leader, "x")
	c.settle()
	c.cut[slow] = true
	c.propose(leader, "y")
	c.settle()
	applied := core.applied
	core.flushes.asked.bytes = core.cfg.FlushBytes
	releases := core.cfg.HeldBytesMax / core.cfg.FlushBytes
	if releases < 2 {
		t.Fatalf("the log is kept for %d releases", releases)
	}
	for i := range releases {
		if got := core.unneeded(); got >= applied {
			t.Fatalf("release %d: entries up to %d given away, the follower has not got %d", i+1, got, applied)
		}
	}
	if got := core.unneeded(); got != applied {
		t.Fatalf("after %d releases still kept from %d on, want %d", releases, got, applied)
	}
	c.cut[slow] = false
	c.tick(2)
	if got := core.unneeded(); got != core.applied {
		t.Fatalf("kept from %d on although all have %d", got, core.applied)
	}
}

// Raft forgets at every election timeout that a follower lives; the log is kept
// for it all the same.
func TestReleaseOutlivesTheCheckOfTheQuorum(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	core := c.members[leader].core
	core.flushes.asked.bytes = 1
	slow := other(3, leader)
	c.propose(leader, "x")
	c.settle()
	c.tick(1)
	c.cut[slow] = true
	c.propose(leader, "y")
	c.settle()
	forgotten := 0
	for range core.cfg.ElectionTicks {
		core.Tick() // no heartbeat arrives meanwhile
		core.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if id == slow && !pr.RecentActive {
				forgotten++
			}
		})
		if got := core.unneeded(); got >= core.applied {
			t.Fatalf("entries up to %d given away, of %d", got, core.applied)
		}
	}
	if forgotten == 0 {
		t.Fatal("raft never forgot the follower: this test shows nothing")
	}
}

func TestARestartCountsTheLogBeyondTheState(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.settle()
	for range 5 {
		c.propose(1, strings.Repeat("x", 100))
		c.settle()
	}
	core, err := NewCore(Config{ID: 1, Boot: 2, Applied: 1, FlushBytes: 400, Pack: packTest(1, 2)}, c.members[1].log, noSnapshots{})
	if err != nil {
		t.Fatal(err)
	}
	if out := core.Output(); !out.Flush {
		t.Fatal("500 bytes of log beyond the state cause no flush")
	}
}

// Many readers make few rounds: beside one in flight another is sent only for as
// many readers, or when the first may be lost.
func TestASecondRoundOfReadsWaitsForAsManyReaders(t *testing.T) {
	c := newCluster(t, 3, nil)
	core := c.members[c.elect()].core
	read := func(n int) (round *ReadRound, wakes int) {
		for range n {
			var wake bool
			if round, wake, _ = core.Read(); wake {
				wakes++
			}
		}
		return round, wakes
	}
	rounds := func() (n int) {
		for _, m := range core.Output().Messages {
			if m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0 {
				n++
			}
			c.members[m.GetTo()].core.Step(m)
		}
		return n // each goes to the quickest follower alone
	}
	if _, wakes := read(1); wakes != 1 || rounds() != 1 {
		t.Fatal("the first reader did not start a round")
	}
	if _, wakes := read(3); wakes != 1 || rounds() != 1 {
		t.Fatal("as many readers as are in flight did not start a round")
	}
	if _, wakes := read(5); wakes != 0 || rounds() != 0 {
		t.Fatal("a third round was sent")
	}
	c.settle()
	first, _ := read(3)
	if rounds() != 1 {
		t.Fatal("no round was sent when all were confirmed")
	}
	if _, wakes := read(2); wakes != 0 || rounds() != 0 {
		t.Fatal("a round for fewer readers than are in flight was sent")
	}
	second, wakes := read(1)
	if wakes != 1 || rounds() != 1 || second == first {
		t.Fatal("it was not sent when it had as many")
	}
}

// What followers ask for shares the rounds of the leader.
func TestReadsOfFollowersShareTheLeadersRound(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	var waiting []*ReadRound
	first := c.members[leader].core
	round, _, _ := first.Read()
	waiting = append(waiting, round)
	for id := uint64(1); id <= 3; id++ {
		if id == leader {
			continue
		}
		round, _, _ := c.members[id].core.Read()
		waiting = append(waiting, round)
		for _, m := range c.members[id].core.Output().Messages {
			first.Step(m)
		}
	}
	out := first.Output()
	contexts := map[string]bool{}
	for _, m := range out.Messages {
		if m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0 {
			contexts[string(m.GetContext())] = true
		}
	}
	if len(contexts) != 1 {
		t.Fatalf("three members' reads took %d rounds", len(contexts))
	}
	for _, m := range out.Messages {
		c.members[m.GetTo()].core.Step(m)
	}
	c.settle()
	for i, round := range waiting {
		select {
		case <-round.Done():
		default:
			t.Errorf("read %d is not confirmed", i)
		}
	}
}

// A follower whose leader loses its leadership before it answers asks the next one.
func TestReadOfAFollowerOutlivesItsLeader(t *testing.T) {
	c := newCluster(t, 3, nil)
	old := c.elect()
	follower := other(3, old)
	round, _, _ := c.members[follower].core.Read()
	for _, m := range c.members[follower].core.Output().Messages {
		c.members[old].core.Step(m)
	}
	c.cut[old] = true
	c.settle()
	c.elect()
	c.tick(8)
	c.settle()
	select {
	case <-round.Done():
	default:
		t.Fatal("the read was not asked again")
	}
}

// Only so many followers are asked to confirm reads as make a quorum; one that is
// gone holds reads up until the next tick and no longer.
func TestTheQuickestFollowerConfirmsReads(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	core := c.members[leader].core
	asked := func() (ids []uint64) {
		out := core.Output()
		for _, m := range out.Messages {
			if m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0 {
				ids = append(ids, m.GetTo())
			}
			if !c.cut[m.GetTo()] {
				c.members[m.GetTo()].core.Step(m)
			}
		}
		return ids
	}
	isDone := func(round *ReadRound) bool {
		select {
		case <-round.Done():
			return true
		default:
			return false
		}
	}
	round, _, _ := core.Read()
	quick := asked()
	if len(quick) != 1 {
		t.Fatalf("%x were asked", quick)
	}
	if c.settle(); !isDone(round) {
		t.Fatal("the read is not confirmed")
	}
	c.cut[quick[0]] = true
	round, _, _ = core.Read()
	if ids := asked(); !slices.Equal(ids, quick) {
		t.Fatalf("%x were asked", ids)
	}
	if c.settle(); isDone(round) {
		t.Fatal("nobody confirmed the read")
	}
	if c.tick(1); !isDone(round) {
		t.Fatal("the read is not confirmed by the other follower")
	}
	next, _, _ := core.Read()
	if ids := asked(); len(ids) != 1 || ids[0] == quick[0] {
		t.Fatalf("%x were asked, of which %x is gone", ids, quick)
	}
	if c.settle(); !isDone(next) {
		t.Fatal("the next read is not confirmed")
	}
	// What was lost may have gone to whoever would be asked.
	core.ReportUnreachable(other(3, leader, quick[0]))
	core.Read()
	if ids := asked(); len(ids) != 2 {
		t.Fatalf("%x were asked after messages were lost", ids)
	}
}
