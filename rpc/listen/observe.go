package listen

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
)

// unary sees every unary request: one function instead of a chain of
// interceptors, each of which would be a closure more for every request.
func (c *GRPCConfig) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	m := c.Stats.of(info.FullMethod)
	var began time.Time
	if m.seconds != nil || c.Slow.Threshold > 0 {
		began = time.Now()
	}
	m.started.Add(1)
	m.received.Add(1)
	if c.Clients != nil {
		err = c.Clients.Count(ctx, info.FullMethod, false)
	}
	if err == nil {
		resp, err = handler(ctx, req)
	}
	if err == nil {
		m.sent.Add(1)
	}
	m.handled[code(err)].Add(1)
	if !began.IsZero() {
		c.took(ctx, m, info.FullMethod, time.Since(began), req, resp, err)
	}
	return resp, err
}

func (c *GRPCConfig) took(ctx context.Context, m *methodStats, fullMethod string, took time.Duration, req, resp any, err error) {
	if m.seconds != nil {
		m.seconds.Observe(took.Seconds())
	}
	if c.Slow.Threshold > 0 && took > c.Slow.Threshold {
		c.Slow.tell(ctx, fullMethod, took, req, resp, err)
	}
}

// stream sees every stream, and has those of Streams see it.
func (c *GRPCConfig) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m := c.Stats.of(info.FullMethod)
	began := time.Now()
	m.started.Add(1)
	var err error
	if c.Clients != nil {
		err = c.Clients.Count(ss.Context(), info.FullMethod, true)
	}
	if err == nil {
		for _, intercept := range slices.Backward(c.Streams) {
			inner := handler
			handler = func(srv any, ss grpc.ServerStream) error { return intercept(srv, ss, info, inner) }
		}
		err = handler(srv, countedStream{ServerStream: ss, stats: m})
	}
	m.handled[code(err)].Add(1)
	if m.seconds != nil {
		m.seconds.Observe(time.Since(began).Seconds())
	}
	return err
}
