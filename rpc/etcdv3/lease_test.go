package etcdv3_test

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine/lease"
)

// serveLeases returns a client of m's leases, and the connection.
func serveLeases(t *testing.T, m *rpctest.Member) (pb.LeaseClient, *grpc.ClientConn) {
	t.Helper()
	return serveLeasesWithin(t, m, 0)
}

// serveLeasesWithin has requests end after timeout, 0 for the default.
func serveLeasesWithin(t *testing.T, m *rpctest.Member, timeout time.Duration) (pb.LeaseClient, *grpc.ClientConn) {
	t.Helper()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{Timeout: timeout}), m)
	conn := rpctest.Serve(t, listen.GRPCConfig{}, services.Register)
	return pb.NewLeaseClient(conn), conn
}

func grant(t *testing.T, c pb.LeaseClient, id, ttl int64) *pb.LeaseGrantResponse {
	t.Helper()
	r, err := c.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: id, TTL: ttl})
	if err != nil {
		t.Fatalf("granting lease %d for %d s: %v", id, ttl, err)
	}
	return r
}

func wantRefusal(t *testing.T, what string, got, want error) {
	t.Helper()
	if status.Code(got) != status.Code(want) || rpctypes.ErrorDesc(orOK(got)) != rpctypes.ErrorDesc(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestLeaseGrant(t *testing.T) {
	c, _ := serveLeases(t, rpctest.New())
	for _, tc := range []struct {
		name             string
		id, ttl, granted int64
	}{
		{"usual", 1, 60, 60},
		{"negative id", -7, 60, 60},
		{"smallest id", math.MinInt64, 60, 60},
		{"largest id", math.MaxInt64, 60, 60},
		{"no time to live", 2, 0, 2},
		{"less than a leader can watch", 3, 1, 2},
		{"negative time to live", 4, -1, 2},
		{"longest time to live", 5, lease.TTLSecondsMax, lease.TTLSecondsMax},
	} {
		r := grant(t, c, tc.id, tc.ttl)
		checkHeader(t, tc.name, r.GetHeader(), 1)
		if r.GetID() != tc.id || r.GetTTL() != tc.granted || r.GetError() != "" {
			t.Errorf("%s: %v, want lease %d for %d s", tc.name, r, tc.id, tc.granted)
		}
	}
	_, err := c.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: 1, TTL: 60})
	wantRefusal(t, "granted twice", err, rpctypes.ErrGRPCLeaseExist)
	_, err = c.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: 9, TTL: lease.TTLSecondsMax + 1})
	wantRefusal(t, "too long", err, rpctypes.ErrGRPCLeaseTTLTooLarge)
}

// TestLeaseIDIsChosen: a client that names no id gets one, positive and of its
// own.
func TestLeaseIDIsChosen(t *testing.T) {
	c, _ := serveLeases(t, rpctest.New())
	seen := map[int64]bool{}
	for range 100 {
		r := grant(t, c, 0, 60)
		if r.GetID() <= 0 || seen[r.GetID()] {
			t.Fatalf("id %d, after %d others", r.GetID(), len(seen))
		}
		seen[r.GetID()] = true
	}
}

func TestLeaseRevoke(t *testing.T) {
	c, conn := serveLeases(t, rpctest.New())
	ctx := context.Background()
	grant(t, c, 1, 60)
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k"), Lease: 1}); err != nil {
		t.Fatal(err)
	}
	r, err := c.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	checkHeader(t, "revoke", r.GetHeader(), 2)
	for _, id := range []int64{1, 0, -1} {
		_, err := c.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
		wantRefusal(t, "revoking a lease that is not there", err, rpctypes.ErrGRPCLeaseNotFound)
	}
}

// TestLeaseTimeToLive: keys are those attached before the question came, which
// costs a read barrier; without keys the leader's word is enough.
func TestLeaseTimeToLive(t *testing.T) {
	m := rpctest.New()
	c, conn := serveLeases(t, m)
	ctx := context.Background()
	grant(t, c, 1, 60)
	for _, key := range []string{"b", "a"} {
		if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Lease: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, withKeys := range []bool{false, true} {
		before := m.ReadIndexes()
		r, err := c.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1, Keys: withKeys})
		if err != nil {
			t.Fatal(err)
		}
		checkHeader(t, "time to live", r.GetHeader(), 3)
		var keys []string
		for _, k := range r.GetKeys() {
			keys = append(keys, string(k))
		}
		want := []string{"a", "b"}
		if !withKeys {
			want = nil
		}
		// 59.5 s are left: whole seconds are told.
		if r.GetID() != 1 || r.GetTTL() != 59 || r.GetGrantedTTL() != 60 || !slices.Equal(keys, want) {
			t.Errorf("with keys %t: %v", withKeys, r)
		}
		if waited := m.ReadIndexes() > before; waited != withKeys {
			t.Errorf("with keys %t: a read barrier: %t", withKeys, waited)
		}
	}
	r, err := c.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 2, Keys: true})
	if err != nil || r.GetID() != 2 || r.GetTTL() != -1 || r.GetGrantedTTL() != 0 || len(r.GetKeys()) != 0 {
		t.Errorf("an unknown lease: %v, %v", r, err)
	}
	checkHeader(t, "an unknown lease", r.GetHeader(), 3)
}

// TestLeaseKeepAlive: what a client sends on one stream is answered in its
// order, also for leases that are not there.
func TestLeaseKeepAlive(t *testing.T) {
	c, _ := serveLeases(t, rpctest.New())
	grant(t, c, 1, 60)
	grant(t, c, -2, 30)
	stream, err := c.LeaseKeepAlive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	asked := []struct{ id, ttl int64 }{{1, 60}, {3, 0}, {-2, 30}, {0, 0}, {1, 60}}
	for _, a := range asked {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: a.id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range asked {
		r, err := stream.Recv()
		if err != nil || r.GetID() != want.id || r.GetTTL() != want.ttl {
			t.Fatalf("%v, %v, want lease %d with %d s", r, err, want.id, want.ttl)
		}
		checkHeader(t, "keep-alive", r.GetHeader(), 1)
	}

	// A lease that ends between two renewals.
	if _, err := c.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: -2}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: -2}); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetTTL() != 0 {
		t.Errorf("a lease that has ended: %v, %v", r, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the client's end: %v", err)
	}
}

// TestLeaseKeepAliveOrder: answers that need not wait do not overtake those that
// do.
func TestLeaseKeepAliveOrder(t *testing.T) {
	m := rpctest.New()
	c, _ := serveLeases(t, m)
	const known = 50
	for id := range int64(known) {
		grant(t, c, id+1, 60)
	}
	m.Switch(rpctest.Switches{RenewNow: true})
	stream, err := c.LeaseKeepAlive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	const rounds = 20
	go func() {
		for i := range int64(rounds * 2 * known) {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: i%(2*known) + 1}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for i := range int64(rounds * 2 * known) {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := int64(60)
		if i%(2*known) >= known {
			want = 0
		}
		if r.GetID() != i%(2*known)+1 || r.GetTTL() != want {
			t.Fatalf("answer %d: %v, want lease %d with %d s", i, r, i%(2*known)+1, want)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the client's end: %v", err)
	}
	waited := 0
	for _, together := range m.Renewals() {
		waited += len(together)
	}
	if waited < rounds*known || waited == rounds*2*known {
		t.Errorf("%d of %d renewals waited, %d had to", waited, rounds*2*known, rounds*known)
	}
}

// TestLeaseLeases: the list needs neither quorum nor leader.
func TestLeaseLeases(t *testing.T) {
	m := rpctest.New()
	c, _ := serveLeases(t, m)
	list := func() (ids []int64) {
		t.Helper()
		r, err := c.LeaseLeases(context.Background(), &pb.LeaseLeasesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		checkHeader(t, "leases", r.GetHeader(), 1)
		for _, l := range r.GetLeases() {
			ids = append(ids, l.GetID())
		}
		return ids
	}
	if ids := list(); len(ids) != 0 {
		t.Errorf("an empty store has leases %d", ids)
	}
	grant(t, c, 5, 60)
	grant(t, c, -5, 60)
	m.Switch(rpctest.Switches{NoLeader: true, BlockReadIndex: true, BlockPropose: true})
	if ids := list(); !slices.Equal(ids, []int64{-5, 5}) || m.ReadIndexes() != 0 {
		t.Errorf("leases %d after %d read barriers", ids, m.ReadIndexes())
	}
}

// leaseCalls are the calls of the service, each about lease 1.
func leaseCalls(c pb.LeaseClient) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"grant": func(ctx context.Context) error {
			_, err := c.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 2, TTL: 60})
			return err
		},
		"revoke": func(ctx context.Context) error {
			_, err := c.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 1})
			return err
		},
		"time to live": func(ctx context.Context) error {
			_, err := c.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1})
			return err
		},
		"leases": func(ctx context.Context) error {
			_, err := c.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return err
		},
		"keep-alive": func(ctx context.Context) error {
			stream, err := c.LeaseKeepAlive(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
}

// TestLeasesRefused: what a member answers that cannot serve a call.
func TestLeasesRefused(t *testing.T) {
	demanding := metadata.AppendToOutgoingContext(context.Background(), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	noQuorum := rpctest.Switches{ProposeErr: node.ErrNotApplied, ReadIndexErr: node.ErrNoLeader}
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		member rpctest.Switches
		want   error
		serves []string // calls that are answered nevertheless
	}{
		{"a learner", context.Background(), rpctest.Switches{Learner: true}, rpctypes.ErrGRPCNotSupportedForLearner, nil},
		{"a leader is demanded", demanding, rpctest.Switches{NoLeader: true}, rpctypes.ErrGRPCNoLeader, nil},
		{"no quorum", context.Background(), noQuorum, rpctypes.ErrGRPCNoLeader, []string{"leases"}},
		{"stopping", context.Background(), rpctest.Switches{ProposeErr: node.ErrStopped, ReadIndexErr: node.ErrStopped}, rpctypes.ErrGRPCStopped, []string{"leases"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := rpctest.New()
			c, _ := serveLeases(t, m)
			grant(t, c, 1, 60)
			m.Switch(tc.member)
			for name, call := range leaseCalls(c) {
				err := call(tc.ctx)
				if slices.Contains(tc.serves, name) {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				wantRefusal(t, name, err, tc.want)
			}
		})
	}
}

// TestLeasesWithoutQuorumTimeOut: no call waits for a quorum for ever, and a
// keep-alive stream ends with the same error.
func TestLeasesWithoutQuorumTimeOut(t *testing.T) {
	m := rpctest.New()
	c, _ := serveLeasesWithin(t, m, 20*time.Millisecond)
	m.Switch(rpctest.Switches{BlockPropose: true, BlockReadIndex: true})
	for name, call := range leaseCalls(c) {
		if err := call(context.Background()); name != "leases" {
			wantRefusal(t, name, err, rpctypes.ErrGRPCTimeout)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
