package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/client"
	"raftkv/client/clienttest"
)

// TestNoWriteIsAppliedTwice runs appends of distinct tokens against members
// with random faults. What the client says about each must agree with how often
// the token is in the store: once if it succeeded, never if it says not
// applied, at most once if it says unknown.
func TestNoWriteIsAppliedTwice(t *testing.T) {
	for _, withoutNative := range []bool{false, true} {
		seen := map[string]int{}
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("withoutNative=%v/seed=%d", withoutNative, seed), func(t *testing.T) {
				appendUnderFaults(t, rand.New(rand.NewPCG(seed, 1)), withoutNative, seen)
			})
		}
		t.Logf("withoutNative=%v: %v", withoutNative, seen)
		for _, outcome := range []string{"applied", "not applied", "unknown, applied", "unknown, not applied"} {
			if seen[outcome] == 0 {
				t.Errorf("withoutNative=%v: no write ended as %q (%v): the runs show nothing about it", withoutNative, outcome, seen)
			}
		}
	}
}

// appendUnderFaults counts the outcomes in seen.
func appendUnderFaults(t *testing.T, rng *rand.Rand, withoutNative bool, seen map[string]int) {
	const writes = 100
	cluster := clienttest.Start(t, clienttest.Options{Members: 3, WithoutNative: withoutNative})
	c := connect(t, append([]string{deadAddress}, cluster.Endpoints()...)...)
	c.SkipPauses(func() {})

	outcomes := make([]error, writes)
	for i := range outcomes {
		for n := 1; n <= 3; n++ {
			cluster.Member(n).Intercept(randomFault(rng, cluster.Member(n)))
		}
		_, _, outcomes[i] = c.Write(testContext(t), appendTo("log", token(i)))
	}
	for n := 1; n <= 3; n++ {
		cluster.Member(n).Intercept(nil)
	}
	value := mustRead(t, c, "log")
	for i, err := range outcomes {
		count := strings.Count(value, token(i))
		unknown, not := errors.Is(err, client.ErrUnknownOutcome), errors.Is(err, client.ErrNotApplied)
		switch {
		case err == nil:
			seen["applied"]++
			if count != 1 {
				t.Errorf("write %d succeeded and is there %d times", i, count)
			}
		case not && !unknown:
			seen["not applied"]++
			if count != 0 {
				t.Errorf("write %d is there %d times, but: %v", i, count, err)
			}
		case unknown && !not:
			seen[[]string{"unknown, not applied", "unknown, applied"}[min(count, 1)]]++
			if count > 1 {
				t.Errorf("write %d of unknown outcome is there %d times", i, count)
			}
		default:
			t.Errorf("write %d: the error says neither or both: %v", i, err)
		}
	}
}

func token(i int) string { return fmt.Sprintf("<%d>", i) }

// randomFault says how a member behaves for one write. The errors are those
// that a server may really give at that point.
func randomFault(rng *rand.Rand, m *clienttest.Member) grpc.UnaryServerInterceptor {
	before := []error{
		rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotSupportedForLearner, rpctypes.ErrGRPCNoSpace,
		rpctypes.ErrGRPCRequestTooManyRequests, rpctypes.ErrGRPCTimeout,
	}[rng.IntN(5)]
	after := []error{
		rpctypes.ErrGRPCTimeout, rpctypes.ErrGRPCLeaderChanged, rpctypes.ErrGRPCStopped,
		status.Error(codes.Internal, "the answer was lost"),
	}[rng.IntN(4)]
	kind := rng.IntN(5)
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		switch kind {
		case 0:
			return nil, before
		case 1:
			if _, err := h(ctx, req); err != nil {
				return nil, err
			}
			return nil, after
		case 2:
			m.CutConnections()
			return nil, ctx.Err()
		case 3:
			resp, err := h(ctx, req)
			m.CutConnections()
			return resp, err
		}
		return h(ctx, req)
	}
}
