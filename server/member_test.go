package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/statemachine"
)

// newcomer is the configuration of one more member.
func (c *cluster) newcomer(name string) Config {
	c.t.Helper()
	cfg := c.configs[0]
	own := []string{"http://" + freeAddress(c.t)}
	cfg.Name, cfg.DataDir = name, filepath.Join(c.t.TempDir(), name)
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.ListenPeerURLs = own, own, own
	cfg.InitialCluster = []Member{{Name: name, PeerURLs: own}}
	return cfg
}

func (c *cluster) join(cfg Config) *Server {
	c.t.Helper()
	c.configs = append(c.configs, cfg)
	c.servers = append(c.servers, nil)
	c.start(len(c.configs) - 1)
	s := c.servers[len(c.servers)-1]
	c.waitReady(s)
	return s
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		if pause(ctx, 20*time.Millisecond) != nil {
			c.t.Fatalf("%s: not after 20 s", what)
		}
	}
}

func (s *Server) isVoter() bool {
	return slices.ContainsFunc(voters(s.rooms.machine.Members()), func(m statemachine.Member) bool { return m.ID == s.memberID })
}

// An operator adds the member first; it finds its id by its peer URLs.
func TestJoinAsEtcdDoes(t *testing.T) {
	c := newCluster(t, 1, false)
	c.startAll()
	cfg := c.newcomer("2")
	added, err := c.client(0).MemberAddAsLearner(t.Context(), cfg.ListenPeerURLs)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Existing, cfg.InitialCluster = true, append(slices.Clone(c.configs[0].InitialCluster), cfg.InitialCluster...)
	s := c.join(cfg)
	if s.memberID != added.Member.ID || s.clusterID != c.servers[0].clusterID {
		t.Fatalf("member %x of cluster %x, want %x of %x", s.memberID, s.clusterID, added.Member.ID, c.servers[0].clusterID)
	}
	c.until("promoted", func() bool { _, err := c.client(0).MemberPromote(t.Context(), s.memberID); return err == nil })
	c.until("a voter", s.isVoter)
	// A restart with the same flags finds the cluster in its directory.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	c.start(1)
	c.waitReady(c.servers[1])
}

func TestWrongExistingClusters(t *testing.T) {
	c := newCluster(t, 1, false)
	c.startAll()
	own := c.newcomer("2")
	for what, tc := range map[string]struct {
		cluster []Member
		says    string
	}{
		"not added":    {append(slices.Clone(c.configs[0].InitialCluster), own.InitialCluster...), "member count is unequal"},
		"nobody else":  {[]Member{{Name: "2", PeerURLs: own.ListenPeerURLs}}, "names nobody else"},
		"nobody there": {[]Member{{Name: "1", PeerURLs: []string{"http://127.0.0.1:1"}}, own.InitialCluster[0]}, "cannot fetch cluster info from peer urls"},
	} {
		cfg := own
		cfg.Existing, cfg.InitialCluster = true, tc.cluster
		s, err := Start(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s: started", what)
			_ = s.Stop()
			continue
		}
		if !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %q does not say %q", what, err, tc.says)
		}
		if _, err := os.Stat(cfg.DataDir); !os.IsNotExist(err) {
			t.Errorf("%s: there is a data directory (%v)", what, err)
		}
	}
}

// A member on a data directory that was put back to how it once was has
// forgotten its votes; the others remember how often it has started.
func TestADirectoryThatWentBackIsRefused(t *testing.T) {
	c := newCluster(t, 3, false)
	c.startAll()
	dir := c.configs[2].DataDir
	old := filepath.Join(t.TempDir(), "copy")
	restart := func() {
		if err := c.servers[2].Stop(); err != nil {
			t.Fatal(err)
		}
		c.start(2)
		c.waitReady(c.servers[2])
	}
	if err := c.servers[2].Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	c.waitReady(c.servers[2])
	restart()
	if err := c.servers[2].Stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(old))); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	s := c.servers[2]
	c.servers[2] = nil
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Error("the member goes on with an old directory")
	}
	if err := s.Stop(); !errors.Is(err, ErrOldDirectory) {
		t.Errorf("it ended with %v, want ErrOldDirectory", err)
	}
}

// A member in memory that comes back is somebody new in the place of the old one.
func TestAMemberInMemoryComesBackAsAnother(t *testing.T) {
	c := newCluster(t, 3, false)
	c.startAll()
	cfg := c.newcomer("4")
	cfg.Memory, cfg.Join = true, c.configs[0].ListenClientURLs[0]
	first := c.join(cfg)
	c.until("a voter", first.isVoter)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	c.start(3)
	c.waitReady(c.servers[3])
	c.until("a voter again", c.servers[3].isVoter)
	if c.servers[3].memberID == first.memberID {
		t.Fatal("it came back under its old id")
	}
	if n := len(c.servers[0].rooms.machine.Members()); n != 4 {
		t.Fatalf("%d members, want 4", n)
	}
}

func TestStrictChecksOfChanges(t *testing.T) {
	c := newCluster(t, 3, true)
	c.configs[2].LaxReconfigCheck = true
	c.startAll()
	ctx := t.Context()
	_, err := c.client(0).MemberAdd(ctx, []string{"http://127.0.0.1:1"})
	if rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCUnhealthy) {
		t.Errorf("a cluster that is connected for less than %v: %v", healthyFor, err)
	}
	_, err = c.client(0).MemberRemove(ctx, c.servers[1].memberID)
	if rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCUnhealthy) {
		t.Errorf("removal from it: %v", err)
	}
	if _, err := c.client(2).MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"}); err != nil {
		t.Errorf("without strict checks: %v", err)
	}
	if _, err := c.client(0).MemberPromote(ctx, 99); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotFound) {
		t.Errorf("promoting nobody: %v", err)
	}
	for i, voter := range c.servers { // the leader is one of them
		if _, err := c.client(1).MemberPromote(ctx, voter.memberID); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotLearner) {
			t.Errorf("promoting voter %d: %v", i, err)
		}
	}
}
