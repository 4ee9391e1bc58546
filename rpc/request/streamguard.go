package request

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// leaderlessTimeoutsMax is how many election timeouts in a row a member may
// look and know no leader before streams that demand one end. A new request is
// refused at once; a stream costs its client more to open again.
const leaderlessTimeoutsMax = 3

// StreamGuard watches over the streams of clients that demand a leader
// (clientv3.WithRequireLeader), so that one on a member that is cut off learns
// of it. It refuses such a stream while this member knows no leader, and ends
// it with etcd's error once there has been none for long. It ends a stream by
// its context: a handler must not wait for the client alone.
type StreamGuard struct {
	leader func() uint64
	mu     sync.Mutex
	open   map[*guardedStream]struct{} // under mu
}

// NewStreamGuard builds a guard that asks leader, which says 0 for none.
func NewStreamGuard(leader func() uint64) *StreamGuard {
	return &StreamGuard{leader: leader, open: map[*guardedStream]struct{}{}}
}

// guardedStream is a stream whose context the guard can end.
type guardedStream struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (s *guardedStream) Context() context.Context { return s.ctx }

// Intercept is a grpc.StreamServerInterceptor.
func (g *StreamGuard) Intercept(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !demandsLeader(ss.Context()) {
		return handler(srv, ss)
	}
	if g.leader() == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	s := &guardedStream{ServerStream: ss}
	s.ctx, s.cancel = context.WithCancelCause(ss.Context())
	g.mu.Lock()
	g.open[s] = struct{}{}
	g.mu.Unlock()
	err := handler(srv, s)
	g.mu.Lock()
	delete(g.open, s)
	g.mu.Unlock()
	// Whatever the handler made of the end of its context, this was the reason.
	if errors.Is(context.Cause(s.ctx), rpctypes.ErrGRPCNoLeader) {
		err = rpctypes.ErrGRPCNoLeader
	}
	s.cancel(nil)
	return err
}

// Run looks for a leader every election timeout, until ctx ends.
func (g *StreamGuard) Run(ctx context.Context, electionTimeout time.Duration) {
	ticker := time.NewTicker(electionTimeout)
	defer ticker.Stop()
	for leaderless := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if g.leader() != 0 {
			leaderless = 0
			continue
		}
		if leaderless++; leaderless >= leaderlessTimeoutsMax {
			g.endAll()
		}
	}
}

func (g *StreamGuard) endAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.open {
		s.cancel(rpctypes.ErrGRPCNoLeader)
	}
}

// demandsLeader reports whether the client wants no answer from a member that
// knows no leader.
func demandsLeader(ctx context.Context) bool {
	demand := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(demand) > 0 && demand[0] == rpctypes.MetadataHasLeader
}
