package node

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3"
)

// stand has a member stand for election, and runs the others until it leads or
// nothing happens any more.
func (c *cluster) stand(id uint64) {
	c.t.Helper()
	if err := c.members[id].core.rn.Campaign(); err != nil {
		c.t.Fatal(err)
	}
	leads := func() bool { return c.members[id].core.rn.BasicStatus().RaftState == raft.StateLeader }
	for busy := true; busy && !leads(); {
		busy = false
		for next := uint64(1); next <= uint64(len(c.members)) && !leads(); next++ {
			busy = c.round(next) || busy
		}
	}
}

// restart gives a member another life, from what its log holds.
func (c *cluster) restart(id uint64) {
	c.t.Helper()
	m := c.members[id]
	m.stuck, m.unapplied = nil, nil
	cfg := m.core.cfg
	cfg.Boot, cfg.Applied = cfg.Boot+1, m.state.applied
	cfg.Pack = packTest(id, cfg.Boot)
	core, err := NewCore(cfg, m.log, noSnapshots{})
	if err != nil {
		c.t.Fatal(err)
	}
	m.core = core
}

// A member that led a term which it did not keep could be elected in it once more,
// by one that has voted for it and does not know what it wrote, and write something
// else there. Another that has the first would take it for the second.
func TestNobodyLeadsATermThatItWouldForget(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.stuck = map[uint64]bool{1: true}
	c.stand(1)
	c.cut[3] = true
	c.propose(1, "of the first life")
	c.settle()

	clear(c.stuck)
	c.restart(1)
	c.cut[3], c.cut[2] = false, true
	c.stand(1)
	c.propose(1, "of the second life")
	c.settle()

	c.cut[2] = false
	c.tick(30)
	c.elect()
	want := []string{"of the second life"}
	for id, m := range c.members {
		if !slices.Equal(m.state.commands, want) {
			t.Errorf("member %d applied %q, want %q", id, m.state.commands, want)
		}
	}
}
