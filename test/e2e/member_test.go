package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// exitRemoved is the exit code of a node that the cluster has removed.
const exitRemoved = 3

func join(t *testing.T, c *harness.Cluster, number int, through *harness.Node) *harness.Node {
	t.Helper()
	n := c.Joining(number, through)
	c.Start(n)
	n.Ready()
	n.Votes()
	return n
}

// cli runs raft-cli and expects it to succeed.
func cli(t *testing.T, c *harness.Cluster, nodes []*harness.Node, args ...string) string {
	t.Helper()
	r := c.CLI(nodes, "", append([]string{"--timeout", "15s"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("raft-cli %s: %v", strings.Join(args, " "), r)
	}
	return r.Stdout
}

// TestNodeJoinsAndIsRemoved takes one node through its life in a live cluster.
func TestNodeJoinsAndIsRemoved(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	founders := slices.Clone(c.Nodes)
	cli(t, c, founders, "set", "name", "Alice")
	four := join(t, c, 4, founders[0])
	if got := cli(t, c, []*harness.Node{four}, "get", "name"); got != "Alice\n" {
		t.Fatalf("node 4 says %q", got)
	}
	// The same command again is a restart, also after a crash.
	four.Kill()
	four.Start()
	four.Ready()
	four.Votes()

	// A second process of the node, and one more with its number.
	again := harness.Run(t, harness.Patience, four.Command())
	if again.Code != 1 || !strings.Contains(again.Stderr, "busy") {
		t.Errorf("the same command beside it: %v", again)
	}
	double := c.Joining(4, founders[1])
	refused := double.Command("--data-dir", "elsewhere")
	if r := harness.Run(t, harness.Patience, refused); r.Code != 1 || !strings.Contains(r.Stderr, `"4" is already the name of member`) {
		t.Errorf("another node 4: %v", r)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "elsewhere")); !os.IsNotExist(err) {
		t.Errorf("a refused join made a directory: %v", err)
	}
	c.Gone(double)

	if got := cli(t, c, founders, "member", "remove", "4"); !strings.Contains(got, "removed from cluster") {
		t.Errorf("member remove says %q", got)
	}
	if code := four.Exit(harness.Patience); code != exitRemoved || !strings.Contains(four.Stderr.String(), "permanently removed from the cluster") {
		t.Errorf("the removed node ended with %d and said %q", code, four.Stderr.String())
	}
	four.Start()
	if code := four.Exit(harness.Patience); code != exitRemoved {
		t.Errorf("started again it ended with %d", code)
	}
	c.Gone(four)
	if got := cli(t, c, founders, "member", "list"); strings.Count(got, "\n") != 3 {
		t.Errorf("members: %q", got)
	}
}

// TestTwoNodesJoinAtOnce: they wait for each other, and both vote in the end.
func TestTwoNodesJoinAtOnce(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	a, b := c.Joining(4, c.Nodes[0]), c.Joining(5, c.Nodes[1])
	c.Start(a, b)
	a.Votes()
	b.Votes()
	cli(t, c, nil, "set", "k", "v")
}

// TestWrongJoins: each is refused with a reason, and touches nothing.
func TestWrongJoins(t *testing.T) {
	c := harness.StartCluster(t, bin, 1)
	other := harness.StartCluster(t, bin, 1)
	for _, tc := range []struct {
		name, says string
		prepare    func(n *harness.Node)
		through    *harness.Node
	}{
		{"a directory with something else", "holds \"photo.jpg\"", func(n *harness.Node) { write(t, n.DataDir(), "photo.jpg") }, c.Nodes[0]},
		{"nobody there", "cannot be asked about its cluster", nil, &harness.Node{Address: "localhost:1"}},
		{"a founder's directory", "which did not join but founded", func(n *harness.Node) {
			c.Nodes[0].Kill()
			if err := os.CopyFS(n.DataDir(), os.DirFS(c.Nodes[0].DataDir())); err != nil {
				t.Fatal(err)
			}
			c.Nodes[0].Start()
			c.Nodes[0].Ready()
		}, other.Nodes[0]},
	} {
		n := c.Joining(7, tc.through)
		if tc.prepare != nil {
			tc.prepare(n)
		}
		r := harness.Run(t, harness.Patience, n.Command())
		if r.Code != 1 || !strings.Contains(r.Stderr, tc.says) {
			t.Errorf("%s: %v", tc.name, r)
		}
		c.Gone(n)
		if err := os.RemoveAll(n.DataDir()); err != nil {
			t.Fatal(err)
		}
	}
	if got := cli(t, c, nil, "member", "list"); strings.Count(got, "\n") != 1 {
		t.Errorf("members after refused joins: %q", got)
	}
	// Joined to one cluster, then pointed at another one before it was complete.
	if r := c.CLI(nil, "", "member", "remove", "1"); r.Code != 1 {
		t.Errorf("removing the last voter: %v", r)
	}
	if r := c.CLI(nil, "", "member", "remove", "1", "--force"); r.Code != 1 || !strings.Contains(r.Stderr, "the last voting member cannot be removed") {
		t.Errorf("removing the last voter by force: %v", r)
	}
}

func write(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEtcdctlMembers has etcd's own client change the members.
func TestEtcdctlMembers(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	run := func(want string, args ...string) string {
		t.Helper()
		var r harness.Result
		// A young cluster counts as unhealthy, as in etcd.
		harness.Until(t, harness.Patience, strings.Join(args, " "), func(context.Context) error {
			if r = c.Etcdctl(c.Nodes[:1], "", args...); strings.Contains(r.Stderr, "unhealthy cluster") {
				return fmt.Errorf("%v", r)
			}
			return nil
		})
		if !strings.Contains(r.Stdout+r.Stderr, want) {
			t.Fatalf("etcdctl %s: %v, want %q", strings.Join(args, " "), r, want)
		}
		return r.Stdout
	}
	added := run("added as learner to cluster", "member", "add", "four", "--peer-urls=http://localhost:9", "--learner")
	id := strings.Fields(strings.TrimPrefix(added, "Member"))[0]
	run("can only promote a learner member which is in sync with leader", "member", "promote", id)
	run("too many learner members in cluster", "member", "add", "five", "--peer-urls=http://localhost:10", "--learner")
	run("Peer URLs already exists", "member", "add", "five", "--peer-urls="+"http://"+c.Nodes[0].Address)
	run("updated in cluster", "member", "update", id, "--peer-urls=http://localhost:11")
	run("http://localhost:11", "member", "list")
	run("removed from cluster", "member", "remove", id)
	run("member not found", "member", "remove", id)
	leader, _ := c.Leader()
	to := c.Others(leader)[0]
	s, err := to.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Etcdctl(nil, "", "move-leader", fmt.Sprintf("%x", s.GetMemberId())); r.Code != 0 || !strings.Contains(r.Stdout, "Leadership transferred from") {
		t.Fatalf("move-leader: %v", r)
	}
	if now, _ := c.Leader(); now != to {
		t.Fatalf("node %d leads, want node %d", now.Number, to.Number)
	}
	if got := cli(t, c, nil, "move-leader", fmt.Sprint(leader.Number)); !strings.Contains(got, "Leadership transferred from") {
		t.Fatalf("raft-cli move-leader says %q", got)
	}
	if now, _ := c.Leader(); now != leader {
		t.Fatalf("node %d leads, want node %d", now.Number, leader.Number)
	}
}

// replaced is how many of the five nodes TestReplaceNodeByNode replaces.
var replaced = flag.Int("replaced", 2, "nodes that the test of a rolling replacement replaces, of five")

// TestReplaceNodeByNode replaces nodes of a cluster by new ones, one after the
// other and the leader among them, while clients write: no acknowledged write
// may be lost.
func TestReplaceNodeByNode(t *testing.T) {
	c := harness.StartCluster(t, bin, 5)
	w := startWindows(t, c)
	leader, _ := c.Leader()
	old := append([]*harness.Node{leader}, c.Others(leader)...)[:*replaced]
	for i, n := range old {
		rest := c.Others(n)
		fresh := join(t, c, 6+i, rest[0])
		w.enter(fmt.Sprintf("node %d removed", n.Number))
		cli(t, c, rest, "member", "remove", fmt.Sprint(n.Number))
		if code := n.Exit(harness.Patience); code != exitRemoved {
			t.Errorf("removed node %d ended with %d", n.Number, code)
		}
		c.Gone(n)
		w.use(c)
		w.progress(50)
		t.Logf("node %d replaced by node %d", n.Number, fresh.Number)
	}
	acked := w.stop()
	state := requireEqualStates(t, c.Nodes...)
	for key := range acked {
		if _, ok := state.records[key]; !ok {
			t.Errorf("%s was acknowledged and is lost", key)
		}
	}
	t.Logf("%d acknowledged writes; longest time without one: %v", len(acked), w.gaps)
}

// windows writes keys, each once, and notes for how long none was acknowledged.
type windows struct {
	t       *testing.T
	cancel  context.CancelFunc
	writers sync.WaitGroup

	mu     sync.Mutex
	client *clientv3.Client
	acked  map[string]bool
	phase  string
	last   time.Time
	gaps   map[string]time.Duration
}

func startWindows(t *testing.T, c *harness.Cluster) *windows {
	ctx, cancel := context.WithCancel(t.Context())
	w := &windows{t: t, cancel: cancel, client: c.Client(), acked: map[string]bool{}, phase: "before", last: time.Now(), gaps: map[string]time.Duration{}}
	for writer := range 4 {
		w.writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w.write(ctx, fmt.Sprintf("replaced/%d/%06d", writer, n))
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// write tries once: what fails may be applied or not.
func (w *windows) write(ctx context.Context, key string) {
	w.mu.Lock()
	client := w.client
	w.mu.Unlock()
	writing, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	if _, err := client.Put(writing, key, "x"); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.gaps[w.phase] = max(w.gaps[w.phase], now.Sub(w.last).Round(time.Millisecond))
	w.acked[key], w.last = true, now
}

func (w *windows) enter(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
}

// use has the writers write to the nodes that there are now.
func (w *windows) use(c *harness.Cluster) {
	client := c.Client()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client = client
}

func (w *windows) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// progress waits until n more writes are acknowledged.
func (w *windows) progress(n int) {
	w.t.Helper()
	want := w.count() + n
	harness.Until(w.t, harness.Patience, "more acknowledged writes", func(context.Context) error {
		if got := w.count(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

func (w *windows) stop() map[string]bool {
	w.cancel()
	w.writers.Wait()
	return w.acked
}
