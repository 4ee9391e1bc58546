package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/client"
	"raftkv/client/clienttest"
)

// answerWith makes a member answer every request with err, unapplied.
func answerWith(err error) grpc.UnaryServerInterceptor {
	return func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) { return nil, err }
}

// hang makes a member accept requests and answer none. Each is told to received.
func hang(received chan<- struct{}) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		received <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func TestEndpointsAreTriedInOrder(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 3})
	e := cluster.Endpoints()
	cluster.Member(2).Intercept(answerWith(rpctypes.ErrGRPCNoLeader))
	c := connect(t, deadAddress, e[1], e[0], e[2])

	_, answer, err := c.Write(testContext(t), put("k", "v"))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Endpoint != e[0] || answer.First {
		t.Errorf("answered by %+v, want %s and not the first", answer, e[0])
	}
	if calls, want := cluster.Calls(), []string{"2 Write", "1 Write"}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}

// TestCodes walks through what a member may answer before it applies anything.
func TestCodes(t *testing.T) {
	const (
		next    = "next endpoint"
		refused = "refused"
		unknown = "unknown"
	)
	for _, tc := range []struct {
		err         error
		write, read string
	}{
		{rpctypes.ErrGRPCNoLeader, next, next},
		{rpctypes.ErrGRPCNotLeader, next, next},
		{rpctypes.ErrGRPCNotSupportedForLearner, next, next},
		{rpctypes.ErrGRPCRequestTooManyRequests, next, next},
		{rpctypes.ErrGRPCLeaderChanged, unknown, next},
		{rpctypes.ErrGRPCTimeout, unknown, next},
		{rpctypes.ErrGRPCStopped, unknown, next},
		{rpctypes.ErrGRPCEmptyKey, refused, refused},
		{rpctypes.ErrGRPCNoSpace, refused, refused},
		{rpctypes.ErrGRPCCompacted, refused, refused},
		{rpctypes.ErrGRPCPermissionDenied, refused, refused},
		{status.Error(codes.Unavailable, "anything else"), unknown, next},
		{status.Error(codes.DeadlineExceeded, "on the server"), unknown, next},
		{status.Error(codes.Canceled, "on the server"), unknown, next},
		{status.Error(codes.Unknown, "a panic"), unknown, next},
		{status.Error(codes.Internal, "a bug"), unknown, next},
		{status.Error(codes.Aborted, "who knows"), unknown, next},
		{status.Error(codes.DataLoss, "a bad disk"), unknown, next},
		{status.Error(codes.Unauthenticated, "who are you"), refused, refused},
		{status.Error(codes.Unimplemented, "what"), refused, refused},
	} {
		t.Run(status.Convert(tc.err).Message(), func(t *testing.T) {
			cluster := clienttest.Start(t, clienttest.Options{Members: 2})
			cluster.Member(1).Intercept(answerWith(tc.err))
			c := connect(t, cluster.Endpoints()...)
			outcome := func(answer client.Answer, err error) string {
				var r *client.RefusedError
				switch {
				case err == nil && answer.Endpoint == cluster.Member(2).Address():
					return next
				case errors.As(err, &r) && errors.Is(err, client.ErrNotApplied) && status.Code(err) == status.Code(tc.err):
					return refused
				case errors.Is(err, client.ErrUnknownOutcome) && !errors.Is(err, client.ErrNotApplied):
					return unknown
				}
				return err.Error()
			}
			_, answer, err := c.Write(testContext(t), put("k", "v"))
			if got := outcome(answer, err); got != tc.write {
				t.Errorf("write: %s, want %s", got, tc.write)
			}
			_, answer, err = c.Range(testContext(t), &pb.RangeRequest{Key: []byte("k")})
			if got := outcome(answer, err); got != tc.read {
				t.Errorf("read: %s, want %s", got, tc.read)
			}
			// A transaction is a write only if it can change something.
			reading := &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}}}
			_, answer, err = c.Txn(testContext(t), reading)
			if got := outcome(answer, err); got != tc.read {
				t.Errorf("reading transaction: %s, want %s", got, tc.read)
			}
			reading.Success = []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}}}
			_, answer, err = c.Txn(testContext(t), reading)
			if got := outcome(answer, err); got != tc.write {
				t.Errorf("writing transaction: %s, want %s", got, tc.write)
			}
		})
	}
}

func TestWriteSentAndCanceledIsUnknown(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	received := make(chan struct{}, 1)
	cluster.Member(1).Intercept(hang(received))
	c := connect(t, cluster.Endpoints()...)
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-received
		cancel()
	}()
	_, _, err := c.Write(ctx, put("k", "v"))
	var u *client.UnknownOutcomeError
	if !errors.As(err, &u) || u.Endpoint != cluster.Member(1).Address() || status.Code(u.Err) != codes.Canceled {
		t.Fatalf("error %v, want an unknown outcome at member 1", err)
	}
	if calls, want := cluster.Calls(), []string{"1 Write"}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v: it must not be sent again", calls, want)
	}
}

func TestWriteOnBrokenConnectionIsUnknown(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	m := cluster.Member(1)
	m.Intercept(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		resp, err := h(ctx, req) // applied, but the answer never arrives
		m.CutConnections()
		return resp, err
	})
	c := connect(t, cluster.Endpoints()...)
	_, _, err := c.Write(testContext(t), appendTo("k", "v"))
	if !errors.Is(err, client.ErrUnknownOutcome) {
		t.Fatalf("error %v, want an unknown outcome", err)
	}
	m.Intercept(nil)
	if v := mustRead(t, c, "k"); v != "v" {
		t.Errorf("value %q: the append must have been applied once", v)
	}
}

func TestWriteThatIsNeverSentIsNotApplied(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	expired, cancel := context.WithCancel(testContext(t))
	cancel()
	for name, tc := range map[string]struct {
		ctx       context.Context
		endpoints []string
	}{
		"all down":         {testContext(t), []string{deadAddress, "127.0.0.1:2"}},
		"canceled context": {expired, cluster.Endpoints()},
	} {
		_, _, err := connect(t, tc.endpoints...).Write(tc.ctx, put("k", "v"))
		var u *client.UnavailableError
		if !errors.As(err, &u) || !errors.Is(err, client.ErrNotApplied) || !strings.HasSuffix(err.Error(), "(not applied)") {
			t.Errorf("%s: error %v, want one that says not applied", name, err)
			continue
		}
		if len(u.Endpoints) != len(tc.endpoints) {
			t.Errorf("%s: %d reasons for %d endpoints", name, len(u.Endpoints), len(tc.endpoints))
		}
	}
	if calls := cluster.Calls(); len(calls) > 0 {
		t.Errorf("calls %v, want none", calls)
	}
}

// TestMemberThatStopsWhileConnected: a kept connection that has broken is
// noticed before anything is sent on it.
func TestMemberThatStopsWhileConnected(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	c := connect(t, cluster.Endpoints()...)
	if _, _, err := c.Write(testContext(t), put("k", "1")); err != nil {
		t.Fatal(err)
	}
	cluster.Member(1).Stop()
	if _, answer, err := c.Range(testContext(t), &pb.RangeRequest{Key: []byte("k")}); err != nil || answer.First {
		t.Fatalf("answered by %+v, %v", answer, err)
	}
	if _, _, err := c.Write(testContext(t), put("k", "2")); err != nil {
		t.Errorf("write after the failure was seen: %v", err)
	}
}

// TestSilentListener: a port that accepts connections and says nothing, as a
// stopped process does, costs the dial timeout and no more.
func TestSilentListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cluster := clienttest.Start(t, clienttest.Options{})
	c := connectWith(t, client.Config{
		Endpoints:   []string{l.Addr().String(), cluster.Member(1).Address()},
		DialTimeout: 300 * time.Millisecond,
	})
	if _, answer, err := c.Write(testContext(t), put("k", "v")); err != nil || answer.First {
		t.Errorf("answered by %+v, %v; want the second endpoint", answer, err)
	}
}

func TestReadMovesOnFromSilentMember(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	cluster.Member(1).Intercept(hang(make(chan struct{}, 1)))
	c := connect(t, cluster.Endpoints()...)
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	if _, answer, err := c.Range(ctx, &pb.RangeRequest{Key: []byte("k")}); err != nil || answer.First {
		t.Errorf("answered by %+v, %v; want the second endpoint", answer, err)
	}
}

func TestElectionIsWaitedFor(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	for n := 1; n <= 2; n++ {
		cluster.Member(n).Intercept(answerWith(rpctypes.ErrGRPCNoLeader))
	}
	c := connect(t, cluster.Endpoints()...)
	rounds := 1
	c.SkipPauses(func() {
		if rounds++; rounds == 3 {
			cluster.Member(2).Intercept(nil)
		}
	})
	_, answer, err := c.Write(testContext(t), put("k", "v"))
	if err != nil || answer.Endpoint != cluster.Member(2).Address() || rounds != 3 {
		t.Errorf("answered by %+v in round %d, %v; want member 2 in round 3", answer, rounds, err)
	}
}

func TestFallbackIsForUnreachableClustersOnly(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	other := clienttest.Start(t, clienttest.Options{ClusterID: 0xc2})
	cfg := client.Config{Endpoints: []string{deadAddress, cluster.Member(1).Address()}, Fallback: other.Endpoints()}

	cluster.Member(1).Intercept(answerWith(rpctypes.ErrGRPCNoLeader))
	c := connectWith(t, cfg)
	rounds := 1
	c.SkipPauses(func() { rounds++ })
	_, _, err := c.Write(testContext(t), put("k", "v"))
	if !errors.Is(err, client.ErrNotApplied) || rounds != client.RoundsMax {
		t.Errorf("error %v after %d rounds, want not applied after %d", err, rounds, client.RoundsMax)
	}
	if calls := other.Calls(); len(calls) > 0 {
		t.Errorf("the other cluster was asked though the first is alive: %v", calls)
	}

	cluster.Member(1).Stop()
	c = connectWith(t, cfg)
	_, answer, err := c.Write(testContext(t), put("k", "v"))
	if err != nil || answer.ClusterID != 0xc2 || answer.First {
		t.Errorf("answered by %+v, %v; want the fallback", answer, err)
	}
}
