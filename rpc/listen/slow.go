package listen

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
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

// unary names the request, never its content: keys and values may be secret.
func (s SlowRequests) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	began := time.Now()
	resp, err := handler(ctx, req)
	if took := time.Since(began); took > s.Threshold {
		s.Logger.Warn("request stats",
			zap.String("method", info.FullMethod), zap.String("remote", caller(ctx)),
			zap.Duration("time spent", took), zap.Duration("expected-duration", s.Threshold),
			zap.Int("request size", sizeOf(req)), zap.Int("response size", sizeOf(resp)), zap.Error(err))
	}
	return resp, err
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
