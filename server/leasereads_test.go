package server

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftkv/client"
	"raftkv/node"
	"raftkv/server/identity"
)

// remembered is what a member's data directory says about promises.
func (c *cluster) remembered(i int) time.Duration {
	c.t.Helper()
	id, found, err := identity.Peek(c.configs[i].DataDir)
	if err != nil || !found {
		c.t.Fatalf("%s: found %v, %v", filepath.Base(c.configs[i].DataDir), found, err)
	}
	return id.PromisedNS
}

// TestLeaseReadsOverMembers: lease reads are switched on for the whole cluster,
// also for a member that is away meanwhile; reads of all members are answered by
// the leader's lease; whoever leads next gets one; directories remember promises
// for as long as they may hold.
func TestLeaseReadsOverMembers(t *testing.T) {
	c := newCluster(t, 3, false)
	for i := range c.configs {
		// Promises that a busy machine keeps as well.
		c.configs[i].HeartbeatInterval, c.configs[i].ElectionTimeout = 100*time.Millisecond, time.Second
	}
	c.startAll()
	const promise = 300 * time.Millisecond
	leader := func() *Server {
		for _, s := range c.servers {
			if s != nil && s.status().Role == node.Leader {
				return s
			}
		}
		return nil
	}
	away := 0
	if leader() == c.servers[0] {
		away = 1
	}
	if err := c.servers[away].Stop(); err != nil {
		t.Fatal(err)
	}
	c.servers[away] = nil
	native, err := client.New(client.Config{Endpoints: []string{strings.TrimPrefix(c.configs[2].ListenClientURLs[0], "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	defer native.Close()
	var set time.Duration
	c.until("the cluster version allows it", func() bool {
		set, err = native.SetLeaseReads(t.Context(), true)
		return err == nil
	})
	if set != promise {
		t.Fatalf("a promise of %v, want %v", set, promise)
	}
	held := func() bool { l := leader(); return l != nil && l.status().Lease }
	c.until("the leader has a lease", held)
	before := leader().node.Load().Stats().ReadsByLease
	for i, s := range c.servers {
		if s != nil {
			c.put(i, "k", s.cfg.Name)
			c.expect(i, "k", s.cfg.Name)
		}
	}
	if leader().node.Load().Stats().ReadsByLease == before {
		t.Error("no read was answered by the lease")
	}
	if c.remembered(away) != 0 || c.remembered(2) != promise {
		t.Errorf("directories remember promises of %v and %v", c.remembered(away), c.remembered(2))
	}

	c.start(away)
	c.waitReady(c.servers[away])
	c.until("the member that was away remembers that it promises", func() bool { return c.remembered(away) == promise })

	// The next leader; the one before keeps what it promised when it starts again.
	old := leader()
	for i, s := range c.servers {
		if s == old {
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			c.servers[i] = nil
			c.until("the next leader has a lease", held)
			c.start(i)
			c.waitReady(c.servers[i])
			if got := c.servers[i].rooms.promised(); got != promise {
				t.Errorf("a member that starts again remembers a promise of %v", got)
			}
		}
	}

	if _, err := native.SetLeaseReads(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	c.until("nobody has a lease, or remembers a promise", func() bool {
		for i := range c.servers {
			if c.servers[i].status().Lease || c.remembered(i) != 0 {
				return false
			}
		}
		return true
	})
	c.put(0, "k", "rounds")
	c.expect(2, "k", "rounds")
}
