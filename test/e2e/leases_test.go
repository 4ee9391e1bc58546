package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

var (
	leases     = flag.Int("leases", 3000, "leases of TestManyLeases")
	leaseNodes = flag.Int("lease-nodes", 1, "nodes of TestManyLeases")
)

const (
	leaseClients   = 8   // connections
	leaseGranters  = 64  // that grant at a time, on each connection
	leasesLiveSecs = 900 // long enough to be there at the end
)

// TestManyLeases: leases granted by many clients at once are all there, also
// after every process was killed, and any of them can still be renewed and
// revoked. With -leases=1000000 it shows what a million cost.
func TestManyLeases(t *testing.T) {
	c := harness.StartCluster(t, bin, *leaseNodes)
	logMemory(t, c, "before")
	began := time.Now()
	grantLeases(t, c)
	took := time.Since(began)
	t.Logf("%d leases granted in %v: %.0f a second, %d at a time", *leases, took.Round(time.Millisecond),
		float64(*leases)/took.Seconds(), leaseClients*leaseGranters)
	logMemory(t, c, "granted")
	checkLeases(t, c, *leases)
	logMemory(t, c, "listed")

	for _, n := range c.Nodes {
		n.Kill()
	}
	began = time.Now()
	c.Start()
	c.Ready()
	t.Logf("ready %v after the start", time.Since(began).Round(time.Millisecond))
	logMemory(t, c, "restarted")
	checkLeases(t, c, *leases)
	c.Leader() // the clients have found it again
	stock := c.Client()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	last := clientv3.LeaseID(*leases)
	if r, err := stock.KeepAliveOnce(ctx, last); err != nil || r.TTL != leasesLiveSecs {
		t.Errorf("renewing the last: %v, %v", r, err)
	}
	if _, err := stock.Revoke(ctx, last); err != nil {
		t.Errorf("revoking the last: %v", err)
	}
	checkLeases(t, c, *leases-1)
}

// grantLeases grants leases 1 to n.
func grantLeases(t *testing.T, c *harness.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var next atomic.Int64
	var granting sync.WaitGroup
	for range leaseClients {
		remote := pb.NewLeaseClient(c.Client().ActiveConnection())
		for range leaseGranters {
			granting.Go(func() {
				for ctx.Err() == nil {
					id := next.Add(1)
					if id > int64(*leases) {
						return
					}
					if _, err := remote.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: leasesLiveSecs}); err != nil {
						cancel(fmt.Errorf("granting lease %d: %w", id, err))
					}
				}
			})
		}
	}
	granting.Wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
}

// checkLeases asks every node for all leases.
func checkLeases(t *testing.T, c *harness.Cluster, want int) {
	t.Helper()
	for _, n := range c.Nodes {
		harness.Until(t, harness.Patience, fmt.Sprintf("node %d: a list of all leases", n.Number), func(ctx context.Context) error {
			r, err := n.Client().Leases(ctx)
			if err == nil && len(r.Leases) != want {
				t.Fatalf("node %d lists %d leases, not %d", n.Number, len(r.Leases), want)
			}
			return err
		})
	}
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// logMemory says what each process has resident, where the system tells.
func logMemory(t *testing.T, c *harness.Cluster, when string) {
	t.Helper()
	for _, n := range c.Nodes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
		if err != nil {
			return
		}
		if m := residentLine.FindSubmatch(status); m != nil {
			kb, err := strconv.Atoi(string(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("node %d, %s: %d MiB resident", n.Number, when, kb>>10)
		}
	}
}
