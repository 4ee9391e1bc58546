package node

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// A member that is behind with applying gets a snapshot. Raft has the members of the
// snapshot at once, the state machine first those of the changes before it.
func TestChangesBeforeASnapshotThatIsToBeInstalled(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	slow := other(3, leader)
	c.idle = map[uint64]bool{slow: true}
	learner := c.add(nil)
	c.mustChange(leader, raftpb.ConfChangeAddLearnerNode, learner, "add")
	c.mustChange(leader, raftpb.ConfChangeAddNode, learner, "promote")
	c.tick(2)
	m, term := c.members[slow], c.members[leader].core.Status().Term
	if len(m.unapplied) == 0 {
		t.Fatal("it is not behind")
	}

	meta := &raftpb.SnapshotMetadata{Index: new(uint64(1000)), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{slow, leader}}}
	m.core.Step(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(leader), To: new(slow), Term: new(term), Snapshot: &raftpb.Snapshot{Metadata: meta}})
	out := m.core.Output()
	if len(out.Applies) != 1 || out.Applies[0].Install == nil {
		t.Fatalf("raft did not take the snapshot: %+v", out.Applies)
	}
	err := Execute(m.state, noSnapshots{}, m.unapplied, m.core.Answer, func(done []Applied) {
		for _, a := range done {
			m.core.ApplyDone(a.Task, a.Conf)
		}
	})
	if err != nil || m.core.Fatal() != nil {
		t.Fatalf("after the changes: %v, %v", err, m.core.Fatal())
	}
	m.core.ApplyDone(out.Applies[0], nil)
	m.core.Output()
	if st := m.core.Status(); st.Applied != 1000 || len(m.core.voters[0]) != 2 || m.core.Fatal() != nil {
		t.Fatalf("after the snapshot: %+v, voters %v, %v", st, m.core.voters, m.core.Fatal())
	}
}
