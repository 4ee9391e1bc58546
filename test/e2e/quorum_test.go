package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"raftkv/test/e2e/harness"
)

// TestMinorityAcknowledgesNothing stops two nodes of three. The third, a leader
// at first, must neither acknowledge a write nor answer a linearizable read
// (row 6).
func TestMinorityAcknowledgesNothing(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, term := c.Leader()
	if _, err := leader.Client().Put(t.Context(), "name", "Alice"); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Others(leader) {
		n.Pause()
	}
	// From its last moments as a leader until long after it stepped down.
	deadline := time.Now().Add(4 * electionTimeout)
	attempts := 0
	for ; time.Now().Before(deadline); attempts++ {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if _, err := leader.Client().Put(ctx, fmt.Sprintf("minority/%d", attempts), "x"); err == nil {
			t.Fatalf("write %d was acknowledged without a majority", attempts)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		if resp, err := leader.Client().Get(ctx, "name"); err == nil {
			t.Fatalf("read %d answered %v without a majority", attempts, resp.Kvs)
		}
		cancel()
	}
	if attempts < 4 {
		t.Errorf("only %d writes were tried", attempts)
	}
	if got := localValue(t, leader, "name"); got != "Alice" {
		t.Errorf("a serializable read answers %q", got)
	}
	if s, err := leader.Status(t.Context()); err != nil || s.GetLeaderId() != 0 {
		t.Errorf("a leader without a majority still names leader %x (%v)", s.GetLeaderId(), err)
	}
	for _, n := range c.Others(leader) {
		n.Resume()
	}
	if _, now := c.Leader(); now < term {
		t.Errorf("term %d follows term %d", now, term)
	}
	if _, err := c.Client().Put(t.Context(), "name", "Bob"); err != nil {
		t.Error(err)
	}
	requireEqualStates(t, c.Nodes...)
}

// TestStaleLeaderAnswersNothingOld stops the leader in its tracks, lets the
// others elect and write, and sends it reads that it finds when it wakes up,
// still believing that it leads (rows 6 and 11).
func TestStaleLeaderAnswersNothingOld(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	const rounds, readers = 3, 8
	for round := range rounds {
		stale, term := c.Leader()
		client, sent := countingClient(t, stale)
		if _, err := client.Put(t.Context(), "name", fmt.Sprintf("old %d", round)); err != nil {
			t.Fatal(err)
		}
		stale.Pause()
		others := c.Others(stale)
		if _, next := c.Leader(others...); next <= term {
			t.Errorf("term %d follows term %d", next, term)
		}
		want := fmt.Sprintf("new %d", round)
		put(t, others[0].Client(), "name", want)

		// These reads begin after the write is acknowledged, and wait in the
		// node's sockets when it wakes up.
		before := sent.Load()
		results := make(chan error, readers)
		for range readers {
			go func() { results <- readUntilServed(t.Context(), client, "name", want) }()
		}
		harness.Until(t, harness.Patience, "the reads to be sent", func(context.Context) error {
			if n := sent.Load() - before; n < readers {
				return fmt.Errorf("%d of %d are", n, readers)
			}
			return nil
		})
		stale.Resume()
		for range readers {
			if err := <-results; err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if _, now := c.Leader(); now <= term {
			t.Errorf("round %d: all agree on term %d, the stale leader's was %d", round, now, term)
		}
	}
}

// countingClient is a client of one node and counts the requests that it sends.
func countingClient(t *testing.T, n *harness.Node) (*clientv3.Client, *atomic.Int64) {
	t.Helper()
	sent := &atomic.Int64{}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{n.Address}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(requestCounter{sent})},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client, sent
}

// requestCounter counts the requests that gRPC has written.
type requestCounter struct{ sent *atomic.Int64 }

func (requestCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (requestCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (requestCounter) HandleConn(context.Context, stats.ConnStats) {}
func (c requestCounter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		c.sent.Add(1)
	}
}

// readUntilServed reads linearizably until an answer comes, and returns an
// error if it is another value than want.
func readUntilServed(ctx context.Context, client *clientv3.Client, key, want string) error {
	ctx, cancel := context.WithTimeout(ctx, harness.Patience)
	defer cancel()
	for {
		trying, done := context.WithTimeout(ctx, 2*time.Second)
		resp, err := client.Get(trying, key)
		done()
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			continue
		case len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want:
			return fmt.Errorf("a linearizable read answers %v, acknowledged was %q", resp.Kvs, want)
		}
		return nil
	}
}

// put writes until it is acknowledged.
func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	harness.Until(t, harness.Patience, "writing "+key, func(ctx context.Context) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
}

// localValue is what a node itself holds under a key.
func localValue(t *testing.T, n *harness.Node, key string) string {
	t.Helper()
	resp, err := n.Client().Get(t.Context(), key, clientv3.WithSerializable())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// TestLinearizableReadsEverywhere writes through one node and reads through the
// others at once: every read must see the write that was acknowledged before it
// (row 11).
func TestLinearizableReadsEverywhere(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	const rounds = 150
	for round := range rounds {
		from := c.Nodes[round%len(c.Nodes)]
		want := fmt.Sprint(round)
		if _, err := from.Client().Put(t.Context(), "counter", want); err != nil {
			t.Fatal(err)
		}
		results := make(chan error, len(c.Nodes))
		for _, n := range c.Nodes {
			go func() {
				resp, err := n.Client().Get(t.Context(), "counter")
				if err == nil && (len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want) {
					err = fmt.Errorf("node %d reads %v after %q was acknowledged by node %d", n.Number, resp.Kvs, want, from.Number)
				}
				results <- err
			}()
		}
		var faults []error
		for range c.Nodes {
			faults = append(faults, <-results)
		}
		if err := errors.Join(faults...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}
