package node

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// asked remembers from which index on a snapshot was wanted.
type asked struct {
	noSnapshots
	minIndex uint64
}

func (a *asked) Latest(minIndex uint64) (*raftpb.Snapshot, error) {
	a.minIndex = minIndex
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// TestASnapshotKnowsItsReceiver: raft drops a snapshot whose configuration does
// not have the receiver, so one from before a member was added is of no use to it.
func TestASnapshotKnowsItsReceiver(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	c.tick(2)
	added := c.add(nil)
	r := c.settled(c.change(leader, raftpb.ConfChangeAddLearnerNode, added, "add"))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for id, m := range c.members {
		if id == added {
			continue
		}
		a := &asked{}
		m.core.storage.snapshots = a
		if _, err := m.core.storage.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) {
			t.Fatal(err)
		}
		if a.minIndex < r.Index {
			t.Errorf("member %d would send a snapshot of index %d to a member that was added at %d", id, a.minIndex, r.Index)
		}
	}
}
