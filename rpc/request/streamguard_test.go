package request_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"raftkv/rpc/request"
)

// stream is a ServerStream that has nothing but a context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

func demanding(ctx context.Context) stream {
	return stream{ctx: metadata.NewIncomingContext(ctx, metadata.Pairs(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader))}
}

// untilEnd is a handler that ends with its context, as a watch does.
func untilEnd(_ any, ss grpc.ServerStream) error {
	<-ss.Context().Done()
	return ss.Context().Err()
}

func TestStreamsThatDemandALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const electionTimeout = time.Second
		var leader atomic.Uint64
		leader.Store(1)
		guard := request.NewStreamGuard(leader.Load)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go guard.Run(ctx, electionTimeout)

		demandingEnd, otherEnd := make(chan error, 1), make(chan error, 1)
		go func() { demandingEnd <- guard.Intercept(nil, demanding(ctx), nil, untilEnd) }()
		go func() { otherEnd <- guard.Intercept(nil, stream{ctx: ctx}, nil, untilEnd) }()
		ended := func(end chan error) error {
			synctest.Wait()
			select {
			case err := <-end:
				return err
			default:
				return nil
			}
		}

		// Two election timeouts without a leader are survived, if one is found.
		time.Sleep(electionTimeout / 2)
		leader.Store(0)
		time.Sleep(2 * electionTimeout)
		leader.Store(2)
		time.Sleep(electionTimeout)
		leader.Store(0)
		time.Sleep(2 * electionTimeout)
		if err := ended(demandingEnd); err != nil {
			t.Fatalf("ended early: %v", err)
		}
		// A new one is refused at once.
		if err := guard.Intercept(nil, demanding(ctx), nil, untilEnd); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			t.Errorf("a stream without a leader: %v", err)
		}
		time.Sleep(electionTimeout)
		if err := ended(demandingEnd); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			t.Errorf("after three election timeouts without a leader: %v", err)
		}
		if err := ended(otherEnd); err != nil {
			t.Errorf("a stream that demands no leader ended: %v", err)
		}
		cancel()
		if err := ended(otherEnd); !errors.Is(err, context.Canceled) {
			t.Errorf("the client's own end: %v", err)
		}
	})
}

// TestTheClientsOwnEnd: what a handler answers stays its answer.
func TestTheClientsOwnEnd(t *testing.T) {
	guard := request.NewStreamGuard(func() uint64 { return 1 })
	for _, want := range []error{nil, rpctypes.ErrGRPCWatchCanceled} {
		if err := guard.Intercept(nil, demanding(t.Context()), nil, func(any, grpc.ServerStream) error { return want }); !errors.Is(err, want) {
			t.Errorf("%v instead of %v", err, want)
		}
	}
}
