package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// TestKillAll kills every node with kill -9 in the middle of many writes, twice.
// What was acknowledged must be there when they are back (row 7).
func TestKillAll(t *testing.T) {
	const rounds, writers, acksPerRound = 2, 8, 400
	c := harness.StartCluster(t, bin, 3)
	acked := map[string]int64{}
	for round := range rounds {
		l := startLoad(t, c, fmt.Sprintf("round-%d", round), writers)
		l.wait(acksPerRound)
		for _, n := range c.Nodes {
			n.Kill()
		}
		for key, revision := range l.stop() {
			acked[key] = revision
		}
		c.Start()
		c.Ready()
		s := requireEqualStates(t, c.Nodes...)
		for key, revision := range acked {
			if r, ok := s.records[key]; !ok || r.modified != revision {
				t.Errorf("round %d: %q was acknowledged at revision %d, the nodes hold %+v", round, key, revision, r)
			}
		}
		for key, r := range s.records {
			if r.version != 1 {
				t.Errorf("round %d: %q was written once and has version %d", round, key, r.version)
			}
		}
		requireContiguous(t, c.Client(), s)
	}
	t.Logf("%d acknowledged writes survived", len(acked))
}

// load writes keys of their own from several goroutines. Each key is tried
// once, so what is not acknowledged may be there or not.
type load struct {
	t       *testing.T
	cancel  context.CancelFunc
	writers sync.WaitGroup

	mu    sync.Mutex
	acked map[string]int64 // revision of each acknowledged key
}

func startLoad(t *testing.T, c *harness.Cluster, prefix string, writers int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, cancel: cancel, acked: map[string]int64{}}
	client := c.Client()
	for w := range writers {
		l.writers.Go(func() { l.write(ctx, client, fmt.Sprintf("%s/%d", prefix, w)) })
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) write(ctx context.Context, client *clientv3.Client, prefix string) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("%s/%05d", prefix, n)
		if resp, err := client.Put(ctx, key, key); err == nil {
			l.mu.Lock()
			l.acked[key] = resp.Header.GetRevision()
			l.mu.Unlock()
		}
	}
}

// wait returns once n writes are acknowledged.
func (l *load) wait(n int) {
	l.t.Helper()
	harness.Until(l.t, harness.Patience, "acknowledged writes", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.acked) < n {
			return fmt.Errorf("%d of %d are", len(l.acked), n)
		}
		return nil
	})
}

// stop ends the writers and returns the revisions of the acknowledged keys.
func (l *load) stop() map[string]int64 {
	l.cancel()
	l.writers.Wait()
	return l.acked
}

// TestMemoryStorage runs a cluster that touches no disk. A node that restarts
// has forgotten everything, so it must not come back under its old id.
func TestMemoryStorage(t *testing.T) {
	c := harness.StartCluster(t, bin, 3, "--storage=memory")
	setEverywhere(t, c, "name", "Alice")
	for _, n := range c.Nodes {
		wantResult(t, fmt.Sprintf("get from node %d", n.Number), c.CLI([]*harness.Node{n}, "", "get", "name"), harness.Result{Stdout: "Alice\n"})
	}
	if left := list(t, c.Dir); left != nil {
		t.Errorf("nodes in memory left %q on disk", left)
	}
	back := c.Others(first(c.Leader()))[0]
	back.Kill()
	r := harness.Run(t, refusalTime, back.Command())
	if r.Code != 1 || !bootstrapped(back).MatchString(r.Stderr) {
		t.Errorf("a node that forgot its votes started again: %v", r)
	}
	put(t, c.Client(c.Others(back)...), "name", "Bob")
	requireEqualStates(t, c.Others(back)...)
}
