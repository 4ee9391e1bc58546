package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"raftkv/test/e2e/harness"
)

// TestStreamsOfALoneMember kills two nodes of three. On the third, streams that
// demand a leader end with etcd's error within a few election timeouts, new
// ones are refused, and those that demand none live on and serve again as soon
// as there is a majority. The list of leases is answered all the time.
func TestStreamsOfALoneMember(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, _ := c.Leader()
	lone := c.Others(leader)[0]
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	demanding := clientv3.WithRequireLeader(ctx)

	demandingWatch := lone.Client().Watch(demanding, "name", clientv3.WithCreatedNotify())
	patientWatch := lone.Client().Watch(ctx, "name", clientv3.WithCreatedNotify())
	for _, watch := range []clientv3.WatchChan{demandingWatch, patientWatch} {
		if r := <-watch; !r.Created || r.Err() != nil {
			t.Fatalf("a watch began with %+v (%v)", r, r.Err())
		}
	}
	conn := lone.Client().ActiveConnection()
	lease, err := lone.Client().Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	demandingRenewal := openKeepAlive(t, demanding, conn, lease.ID)
	patientRenewal := openKeepAlive(t, ctx, conn, lease.ID)

	for _, n := range c.Others(lone) {
		n.Kill()
	}
	killed := time.Now()
	r, open := <-demandingWatch
	if !open || !r.Canceled || !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Fatalf("the watch that demands a leader: %+v, %v", r, r.Err())
	}
	t.Logf("the watch ended %v after the last of the others was killed", time.Since(killed).Round(time.Millisecond))
	if r, err := demandingRenewal.Recv(); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("the keep-alive stream that demands a leader: %v, %v", r, err)
	}
	if r := <-lone.Client().Watch(demanding, "name"); !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Errorf("a new watch that demands a leader: %+v, %v", r, r.Err())
	}
	if r, err := lone.Client().Leases(ctx); err != nil || len(r.Leases) != 1 || r.Leases[0].ID != lease.ID {
		t.Errorf("the list of leases, which needs no leader: %v, %v", r, err)
	}

	for _, n := range c.Others(lone) {
		n.Start()
	}
	c.Ready(c.Others(lone)...)
	put(t, c.Client(), "name", "Alice")
	if r := <-patientWatch; r.Err() != nil || len(r.Events) != 1 || string(r.Events[0].Kv.Value) != "Alice" {
		t.Errorf("the watch that demands no leader: %+v, %v", r, r.Err())
	}
	if err := patientRenewal.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease.ID)}); err != nil {
		t.Fatal(err)
	}
	if r, err := patientRenewal.Recv(); err != nil || r.TTL != 3600 {
		t.Errorf("the keep-alive stream that demands no leader: %v, %v", r, err)
	}
}

// openKeepAlive opens a stream and renews a lease on it once.
func openKeepAlive(t *testing.T, ctx context.Context, conn grpc.ClientConnInterface, id clientv3.LeaseID) pb.Lease_LeaseKeepAliveClient {
	t.Helper()
	stream, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err == nil {
		err = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.TTL != 3600 {
		t.Fatalf("a renewal: %v, %v", r, err)
	}
	return stream
}
