package node

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func (c *cluster) change(id uint64, typ raftpb.ConfChangeType, member uint64, command string) *Change {
	c.t.Helper()
	change, err := c.members[id].core.ProposeChange(&raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: new(member)}, []byte(command))
	if err != nil {
		c.t.Fatal(err)
	}
	return change
}

// settled runs the cluster until the change is answered.
func (c *cluster) settled(change *Change) Result {
	c.t.Helper()
	for range 40 {
		c.settle()
		select {
		case r := <-change.Done():
			return r
		default:
			c.tick(1)
		}
	}
	c.t.Fatal("the change is not answered after 40 ticks")
	return Result{}
}

func (c *cluster) mustChange(id uint64, typ raftpb.ConfChangeType, member uint64, command string) {
	c.t.Helper()
	if r := c.settled(c.change(id, typ, member, command)); r.Err != nil || r.Value != "did "+command || r.Index == 0 {
		c.t.Fatalf("%s: %+v", command, r)
	}
}

func TestMembersAreAddedPromotedAndRemoved(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	added := c.add(nil)
	c.mustChange(leader, raftpb.ConfChangeAddLearnerNode, added, "add")
	c.tick(3)
	if st := c.members[added].core.Status(); st.Role != Learner || st.Applied != c.members[leader].core.Status().Applied {
		t.Fatalf("the learner is %+v", st)
	}
	i := slices.IndexFunc(c.members[leader].core.Progress(), func(p Progress) bool { return p.ID == added })
	if p := c.members[leader].core.Progress()[i]; !p.Learner || !p.Active || p.Match != c.members[leader].core.Status().Last {
		t.Fatalf("progress of the learner: %+v", p)
	}
	c.mustChange(leader, raftpb.ConfChangeAddNode, added, "promote")
	c.tick(2)
	if role := c.members[added].core.Status().Role; role != Follower {
		t.Fatalf("the promoted member is %v", role)
	}
	c.mustChange(leader, raftpb.ConfChangeRemoveNode, leader%3+1, "remove")
	if n := len(c.members[leader].core.Progress()); n != 3 {
		t.Fatalf("%d members after the removal, want 3", n)
	}
}

func TestOnlyTheLeaderChangesMembersAndOneAtATime(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	if r := c.settled(c.change(leader%3+1, raftpb.ConfChangeAddLearnerNode, 4, "add")); !errors.Is(r.Err, ErrNotLeader) {
		t.Fatalf("on a follower: %+v", r)
	}
	first := c.change(leader, raftpb.ConfChangeAddLearnerNode, 4, "add")
	if _, err := c.members[leader].core.ProposeChange(&raftpb.ConfChangeSingle{}, nil); !errors.Is(err, ErrChangePending) {
		t.Fatalf("a second one at the same time: %v", err)
	}
	if r := c.settled(first); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := c.settled(c.change(leader, raftpb.ConfChangeAddLearnerNode, 5, "refuse")); !errors.Is(r.Err, errRefused) {
		t.Fatalf("refused by the state machine: %+v", r)
	}
	// A refusal changes nothing in raft, and does not stand in the way.
	if n := len(c.members[leader].core.Progress()); n != 4 {
		t.Fatalf("%d members, want 4", n)
	}
	c.mustChange(leader, raftpb.ConfChangeRemoveNode, 4, "remove")
}

// A leader that was just elected cannot tell whether its predecessor left a
// change behind; raft would make an empty entry of a change proposed now.
func TestAChangeWaitsForTheLeadersFirstEntry(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.idle = map[uint64]bool{1: true, 2: true, 3: true}
	leader := c.elect()
	change := c.change(leader, raftpb.ConfChangeAddLearnerNode, 4, "add")
	c.tick(2)
	if r := c.members[leader].core.AbandonChange(change); !errors.Is(r.Err, ErrNotApplied) {
		t.Fatalf("abandoned before it was proposed: %+v", r)
	}
	change = c.change(leader, raftpb.ConfChangeAddLearnerNode, 4, "add")
	c.tick(2)
	c.idle = nil
	if r := c.settled(change); r.Err != nil {
		t.Fatal(r.Err)
	}
}

func TestAChangeOfADeposedLeaderIsSettled(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.cut[leader] = true
	change := c.change(leader, raftpb.ConfChangeAddLearnerNode, 4, "add")
	c.settle()
	// Nobody waits for it any more, but it may still be applied.
	if r := c.members[leader].core.AbandonChange(change); !errors.Is(r.Err, ErrUnknownOutcome) {
		t.Fatalf("abandoned while it is in the log: %+v", r)
	}
	if _, err := c.members[leader].core.ProposeChange(&raftpb.ConfChangeSingle{}, nil); !errors.Is(err, ErrChangePending) {
		t.Fatalf("another one meanwhile: %v", err)
	}
	next := c.elect()
	c.propose(next, "x")
	clear(c.cut)
	c.tick(3)
	select {
	case r := <-change.Done():
		if !errors.Is(r.Err, ErrSuperseded) {
			t.Fatalf("after another leader's entries: %+v", r)
		}
	default:
		t.Fatal("the change is not settled")
	}
	c.mustChange(next, raftpb.ConfChangeAddLearnerNode, 4, "again")
}

func TestALeaderRemovesItself(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.mustChange(leader, raftpb.ConfChangeRemoveNode, leader, "remove")
	c.settle()
	if st := c.members[leader].core.Status(); st.Role == Leader {
		t.Fatalf("the removed member still leads: %+v", st)
	}
	c.cut[leader] = true
	next := c.elect()
	p := c.propose(next, "x")
	c.settle()
	if r, ok := result(p); !ok || r.Err != nil {
		t.Fatalf("after the removal of the leader: %+v %v", r, ok)
	}
}

func TestStopAnswersAChange(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.cut[leader] = true
	change := c.change(leader, raftpb.ConfChangeAddLearnerNode, 4, "add")
	c.settle()
	c.members[leader].core.Stop()
	if r := <-change.Done(); !errors.Is(r.Err, ErrUnknownOutcome) {
		t.Fatalf("%+v", r)
	}
	if _, err := c.members[leader].core.ProposeChange(&raftpb.ConfChangeSingle{}, nil); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestLeadershipMovesToTheChosenMember(t *testing.T) {
	c := newCluster(t, 5, nil)
	leader := c.elect()
	to := leader%5 + 1
	c.members[leader].core.TransferTo(to)
	c.settle()
	if st := c.members[leader].core.Status(); st.Leader != to {
		t.Fatalf("%x leads, want %x", st.Leader, to)
	}
}

// The followers of a leader whose disk stands still acknowledge to each other
// for ever; it has to go by itself, also when it notices just as raft forgets whom
// it has heard of, as it does once in each election timeout.
func TestALeaderWithAStalledDiskHandsOver(t *testing.T) {
	for phase := range 10 {
		c := newCluster(t, 3, nil)
		leader := c.elect()
		c.tick(phase)
		c.stuck = map[uint64]bool{leader: true}
		c.propose(leader, "x")
		c.tick(3 * c.members[leader].core.cfg.ElectionTicks)
		other := c.members[leader%3+1].core.Status()
		if other.Leader == leader || other.Leader == 0 {
			t.Errorf("%x leads, %x has a stalled disk since tick %d", other.Leader, leader, phase)
		}
		if got := c.members[leader].core.Slowness(); got.DiskTransfers == 0 {
			t.Errorf("the leader counts %+v", got)
		}
	}
}

func TestADiskThatIsBusyIsNotStalled(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	for range 5 * c.members[leader].core.cfg.ElectionTicks {
		c.propose(leader, "x")
		c.tick(1)
	}
	if now := c.members[leader].core.Status().Leader; now != leader {
		t.Fatalf("leadership went from %x to %x", leader, now)
	}
}
