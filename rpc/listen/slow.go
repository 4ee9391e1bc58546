package listen

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// SlowRequests warns of unary requests that took long. The zero value warns of
// none.
type SlowRequests struct {
	// Threshold is the duration from which on a request is slow; 0: none is.
	Threshold time.Duration
	// Logger is needed with a Threshold.
	Logger *zap.Logger
}

// tell names a request that was slow, never its content: keys and values may be
// secret.
func (s SlowRequests) tell(ctx context.Context, fullMethod string, took time.Duration, req, resp any, err error) {
	s.Logger.Warn("request stats",
		zap.String("method", fullMethod), zap.String("remote", caller(ctx)),
		zap.Duration("time spent", took), zap.Duration("expected-duration", s.Threshold),
		zap.Int("request size", sizeOf(req)), zap.Int("response size", sizeOf(resp)), zap.Error(err))
}

func caller(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}

func sizeOf(m any) int {
	if m, ok := m.(proto.Message); ok && m != nil {
		return proto.Size(m)
	}
	return 0
}
