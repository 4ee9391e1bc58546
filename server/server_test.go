package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"raftkv/test/e2e/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is members of one cluster in this process, on free ports.
type cluster struct {
	t       *testing.T
	configs []Config
	servers []*Server
}

func newCluster(t *testing.T, size int, memory bool) *cluster {
	t.Helper()
	c := &cluster{t: t, servers: make([]*Server, size)}
	var members []Member
	for i := range size {
		members = append(members, Member{Name: fmt.Sprint(i + 1), PeerURLs: []string{"http://" + freeAddress(t)}})
	}
	root := t.TempDir()
	for _, m := range members {
		cfg := Config{
			Name: m.Name, Memory: memory, DataDir: filepath.Join(root, "node-"+m.Name),
			ListenClientURLs: m.PeerURLs, AdvertiseClientURLs: m.PeerURLs, ListenPeerURLs: m.PeerURLs,
			InitialCluster: members, HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
		}
		c.configs = append(c.configs, cfg)
	}
	t.Cleanup(c.stop)
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", harness.FreePorts(t, 1))
}

func (c *cluster) start(i int) {
	c.t.Helper()
	s, err := Start(context.Background(), c.configs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.servers[i] = s
}

func (c *cluster) startAll() {
	c.t.Helper()
	for i := range c.configs {
		c.start(i)
	}
	for _, s := range c.servers {
		c.waitReady(s)
	}
}

func (c *cluster) waitReady(s *Server) {
	c.t.Helper()
	select {
	case <-s.Ready():
	case <-s.Done():
		c.t.Fatalf("the member stopped: %v", s.Stop())
	case <-time.After(30 * time.Second):
		c.t.Fatal("the member is not ready after 30 s")
	}
}

func (c *cluster) stop() {
	var stopping sync.WaitGroup
	for i, s := range c.servers {
		if s == nil {
			continue
		}
		c.servers[i] = nil
		stopping.Go(func() {
			if err := s.Stop(); err != nil {
				c.t.Errorf("stop member %d: %v", i+1, err)
			}
		})
	}
	stopping.Wait()
}

func (c *cluster) client(i int) *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.configs[i].ListenClientURLs, DialTimeout: 5 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

func (c *cluster) expect(i int, key, want string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	got, err := c.client(i).Get(ctx, key)
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != want {
		c.t.Fatalf("member %d: %s is %v (%v), want %q", i+1, key, got, err, want)
	}
}

func (c *cluster) put(i int, key, value string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.client(i).Put(ctx, key, value); err != nil {
		c.t.Fatalf("put %s through member %d: %v", key, i+1, err)
	}
}

func TestMembersServeAndResume(t *testing.T) {
	c := newCluster(t, 3, false)
	c.startAll()
	for i := range 3 {
		c.put(i, fmt.Sprint("key", i), "before")
		c.expect((i+1)%3, fmt.Sprint("key", i), "before")
	}
	c.stop()
	c.startAll()
	for i := range 3 {
		c.expect(i, fmt.Sprint("key", (i+1)%3), "before")
	}
	c.put(0, "key0", "after")
	c.expect(2, "key0", "after")
}

func TestMemoryModeWritesNoFile(t *testing.T) {
	c := newCluster(t, 3, true)
	c.startAll()
	c.put(0, "k", "v")
	c.expect(2, "k", "v")
	if _, err := os.Stat(c.configs[0].DataDir); !os.IsNotExist(err) {
		t.Fatalf("the data directory exists in memory mode: %v", err)
	}
}

func TestLostDirectoryIsRefusedAndTheOthersServe(t *testing.T) {
	c := newCluster(t, 3, false)
	c.startAll()
	c.put(0, "k", "v")
	if err := c.servers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	c.servers[0] = nil
	if err := os.RemoveAll(c.configs[0].DataDir); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), c.configs[0])
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-s.Ready():
		t.Error("a member without its directory took part again")
	}
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "has already been bootstrapped") {
		t.Errorf("%v does not explain the refusal", err)
	}
	c.put(1, "k", "w")
	c.expect(2, "k", "w")
}

// A start with a wrong data directory is refused, and does not keep the rightful
// member out, although one of the others had never met that before.
func TestAMistakenStartDoesNotLockTheMemberOut(t *testing.T) {
	c := newCluster(t, 5, false)
	for i := range 4 {
		c.start(i)
	}
	for i := range 4 {
		c.waitReady(c.servers[i])
	}
	c.put(1, "k", "v")
	if err := c.servers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	c.servers[0] = nil
	c.start(4)
	c.waitReady(c.servers[4])
	c.expect(4, "k", "v") // so it has applied who the members are

	impostor := c.configs[0]
	impostor.DataDir = filepath.Join(t.TempDir(), "wrong")
	s, err := Start(t.Context(), impostor)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "has already been bootstrapped") {
		t.Errorf("%v does not explain the refusal", err)
	}

	c.start(0)
	c.waitReady(c.servers[0])
	for i := range 5 {
		c.put(i, "k", fmt.Sprint(i))
	}
	c.expect(0, "k", "4")
}

func TestBusyPortLeavesTheDirectoryAlone(t *testing.T) {
	c := newCluster(t, 1, false)
	l, err := net.Listen("tcp", strings.TrimPrefix(c.configs[0].ListenClientURLs[0], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Start(t.Context(), c.configs[0]); err == nil || !strings.Contains(err.Error(), "is busy") {
		t.Fatalf("%v does not say that the port is busy", err)
	}
	if _, err := os.Stat(c.configs[0].DataDir); !os.IsNotExist(err) {
		t.Fatalf("the data directory was touched: %v", err)
	}
}
