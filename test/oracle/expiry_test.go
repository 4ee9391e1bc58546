package oracle

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

var (
	expirySeedsFlag = flag.Int("expiry-seeds", 3, "seeds with leases that run out, from -start on")
	expiryOpsFlag   = flag.Int("expiry-ops", 150, "operations per seed of those")
)

// expiring makes requests with leases that run out among them.
func expiring(seed uint64) *Generator {
	g := served(seed)
	g.Expiries = true
	return g
}

// TestExpirySeeds: a lease that runs out takes its keys with it, in one revision
// and with events in etcd's order, not before its time, and leaves the same
// history behind. A run in which the machine was so slow that a lease may have
// run out in the middle of other requests ends there: it is no measure.
func TestExpirySeeds(t *testing.T) {
	tally := NewTally()
	var overtaken [64]bool
	if *expirySeedsFlag > len(overtaken) {
		t.Fatalf("-expiry-seeds is at most %d", len(overtaken))
	}
	t.Run("seeds", func(t *testing.T) {
		for i := range *expirySeedsFlag {
			seed := *startFlag + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o := startPair(t)
				asked, d := o.Run(t.Context(), expiring(seed), *expiryOpsFlag, tally)
				if d != nil {
					t.Errorf("seed %d, operation %d differs:\n%s\nreplay, in test/oracle: go test . -run 'TestExpirySeeds$' -count=1 -start=%d -expiry-seeds=1 -expiry-ops=%d",
						seed, len(asked), d, seed, len(asked))
				}
				if overtaken[i] = o.Overtaken(); overtaken[i] {
					t.Logf("seed %d ended at operation %d: a lease ran out meanwhile", seed, len(asked))
				}
			})
		}
	})
	t.Logf("asked:\n%s", tally)
	early := 0
	for _, o := range overtaken {
		if o {
			early++
		}
	}
	asked, done := tally.Done(LeaseExpiry)
	t.Logf("%d leases ran out; %d of %d seeds ended early", done, early, *expirySeedsFlag)
	if !t.Failed() && (done < asked || done < *expirySeedsFlag*(*expiryOpsFlag)/100) {
		t.Errorf("%d of %d leases ran out; %d of %d seeds ended early, because the machine was too slow", done, asked, early, *expirySeedsFlag)
	}
}

// TestPlantedExpiriesAreCaught: a lease that runs out too early, leaves a key
// behind, takes one too many, or does not run out.
func TestPlantedExpiriesAreCaught(t *testing.T) {
	key := func(n int) []byte { return fmt.Appendf(nil, "k%d", n) }
	grant := Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: expiringLease, TTL: shortSeconds}}
	attach := func(n int, lease int64) Operation {
		return Operation{Put, &pb.PutRequest{Key: key(n), Value: []byte("v"), Lease: lease}}
	}
	expiry := Operation{LeaseExpiry, &pb.LeaseTimeToLiveRequest{ID: expiringLease}}
	all := Operation{Range, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}
	program := []Operation{grant, attach(1, expiringLease), attach(2, expiringLease), attach(3, 0), expiry, all}
	for name, c := range map[string]struct {
		act  func(ctx context.Context, m Member, o Operation)
		says string
	}{
		"too early": {func(ctx context.Context, m Member, o Operation) {
			if o.Method == LeaseExpiry {
				m.Do(ctx, Operation{LeaseRevoke, &pb.LeaseRevokeRequest{ID: expiringLease}})
			}
		}, "before its time"},
		"a key left behind": {func(_ context.Context, _ Member, o Operation) {
			r, ok := o.Request.(*pb.PutRequest)
			if ok && string(r.Key) == "k2" {
				r.Lease = 0
			}
		}, "k2"},
		"a key too many": {func(ctx context.Context, m Member, o Operation) {
			r, ok := o.Request.(*pb.PutRequest)
			if ok && string(r.Key) == "k3" {
				r.Lease = expiringLease
			}
		}, "k3"},
		"a longer life": {func(_ context.Context, _ Member, o Operation) {
			r, ok := o.Request.(*pb.LeaseGrantRequest)
			if ok {
				r.TTL = leaseSecondsMin
			}
		}, "TTL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startPair(t)
			o.Wrap(func(m Member) Member { return &wrongly{Member: m, act: c.act} })
			_, d := o.Replay(t.Context(), program)
			if o.Overtaken() {
				t.Fatal("the machine was too slow")
			}
			if d == nil || !strings.Contains(d.String(), c.says) {
				t.Fatalf("difference: %v", d)
			}
		})
	}
}

// wrongly changes requests on their way to a member.
type wrongly struct {
	Member
	act func(ctx context.Context, m Member, o Operation)
}

func (w *wrongly) Do(ctx context.Context, o Operation) Answer {
	copied := Operation{o.Method, proto.Clone(o.Request)}
	w.act(ctx, w.Member, copied)
	return w.Member.Do(ctx, copied)
}

// TestOvertaken: a lease counts as one that may be over from the moment on at
// which it may be.
func TestOvertaken(t *testing.T) {
	var c countdown
	if c.overtaken() {
		t.Error("without a lease")
	}
	granted := func(ttl int64, began time.Time) {
		c.note(Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: 1, TTL: ttl}}, Answer{Response: &pb.LeaseGrantResponse{}}, began)
	}
	granted(leaseSecondsMin, time.Now())
	if c.id != 0 {
		t.Error("a long lease was followed")
	}
	granted(5, time.Now())
	if c.overtaken() {
		t.Error("right after the grant")
	}
	granted(5, time.Now().Add(-5*time.Second))
	if !c.overtaken() {
		t.Error("not when its time was up")
	}
	c.note(Operation{LeaseKeepAlive, &pb.LeaseKeepAliveRequest{ID: 1}}, Answer{Response: &pb.LeaseKeepAliveResponse{TTL: 5}}, time.Now())
	if !c.overtaken() {
		t.Error("a renewal may have come too late")
	}
	c.note(Operation{LeaseRevoke, &pb.LeaseRevokeRequest{ID: 1}}, Answer{Code: codes.NotFound}, time.Now())
	if c.id == 0 {
		t.Error("a refused revocation ended it")
	}
	c.note(Operation{LeaseRevoke, &pb.LeaseRevokeRequest{ID: 1}}, Answer{Response: &pb.LeaseRevokeResponse{}}, time.Now())
	if c.overtaken() {
		t.Error("after its revocation")
	}
}
