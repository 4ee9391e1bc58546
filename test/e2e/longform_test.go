package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"raftkv/test/e2e/harness"
)

// TestLongForm starts a cluster by etcd's flags, with ports for clients and for
// peers, and stops each node from talking to the wrong kind.
func TestLongForm(t *testing.T) {
	const nodes = 3
	first, dir := harness.FreePorts(t, 2*nodes), t.TempDir()
	client := func(n int) string { return fmt.Sprintf("http://localhost:%d", first+2*n) }
	peer := func(n int) string { return fmt.Sprintf("http://localhost:%d", first+2*n+1) }
	var initial, endpoints []string
	for n := range nodes {
		initial = append(initial, fmt.Sprintf("member-%c=%s", 'a'+n, peer(n)))
		endpoints = append(endpoints, client(n))
	}
	var processes []*harness.Process
	for n := range nodes {
		name := fmt.Sprintf("member-%c", 'a'+n)
		processes = append(processes, harness.Start(t, harness.Command{Name: name, Path: bin.RaftKV, Dir: dir, Args: []string{
			"--name=" + name, "--data-dir=" + name + ".data",
			"--listen-client-urls", client(n), "--advertise-client-urls", client(n),
			"--listen-peer-urls", peer(n), "--initial-advertise-peer-urls", peer(n),
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new", "--initial-cluster-token", "e2e",
			"--heartbeat-interval=50", "--election-timeout=500", "--log-format=console", "--log-level=warn",
		}}))
	}
	leads := regexp.MustCompile(`^\[(LEADER|FOLLOWER)\] (Elected! Term: \d+|Leader is node member-[abc])$`)
	for n, p := range processes {
		p.ExactLine(harness.Patience, fmt.Sprintf("Node member-%c starting...", 'a'+n))
		p.Line(harness.Patience, "about a leader", leads.MatchString)
		p.ExactLine(harness.Patience, "ready to serve client requests")
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	})
	put(t, etcd, "name", "Alice")
	if resp, err := etcd.Get(t.Context(), "name"); err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "Alice" {
		t.Errorf("get answers %v (%v)", resp, err)
	}
	if left := list(t, dir); fmt.Sprint(left) != "[member-a.data member-b.data member-c.data]" {
		t.Errorf("the nodes made %q", left)
	}
	// A port for peers does not serve clients.
	wrong := harness.Run(t, harness.Patience, harness.Command{Name: "etcdctl", Path: bin.Etcdctl, Args: []string{
		"--endpoints", peer(0), "--command-timeout=2s", "put", "name", "Bob",
	}})
	if wrong.Code == 0 {
		t.Errorf("a port for peers took a write: %v", wrong)
	}
}

// TestVersion prints what scripts look for.
func TestVersion(t *testing.T) {
	r := harness.Run(t, harness.Patience, harness.Command{Name: "raft-kv", Path: bin.RaftKV, Args: []string{"--version"}})
	want := regexp.MustCompile(`^raft-kv Version: \d+\.\d+\.\d+\netcd Version: 3\.7\.3\nGo Version: go1\.\S+\nGo OS/Arch: \S+\n$`)
	if r.Code != 0 || !want.MatchString(r.Stdout) || r.Stderr != "" {
		t.Errorf("raft-kv --version: %v", r)
	}
}
