package h2

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// handlers are a service of two methods; nil: what comes is sent back.
type handlers struct {
	unary  func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
	stream func(grpc.ServerStream) error
}

const (
	unaryPath  = "/test.Test/Unary"
	streamPath = "/test.Test/Stream"
)

var testService = grpc.ServiceDesc{
	ServiceName: "test.Test",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: serveTestUnary}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Stream", ClientStreams: true, ServerStreams: true,
		Handler: func(impl any, s grpc.ServerStream) error { return impl.(handlers).stream(s) },
	}},
}

func serveTestUnary(impl any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	in := &wrapperspb.BytesValue{}
	if err := decode(in); err != nil {
		return nil, err
	}
	serve := func(ctx context.Context, req any) (any, error) {
		return impl.(handlers).unary(ctx, req.(*wrapperspb.BytesValue))
	}
	if intercept == nil {
		return serve(ctx, in)
	}
	return intercept(ctx, in, &grpc.UnaryServerInfo{Server: impl, FullMethod: unaryPath}, serve)
}

func echoUnary(_ context.Context, m *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return m, nil
}

func echoStream(s grpc.ServerStream) error {
	for {
		var m wrapperspb.BytesValue
		if err := s.RecvMsg(&m); err != nil {
			return nil // io.EOF, or the client is gone
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
	}
}

// pipeBytes is what one side of a test's connection may be ahead.
const pipeBytes = 256 << 10

// serve runs a server until the test ends.
func serve(t testing.TB, cfg Config, h handlers) (*Server, *bufconn.Listener) {
	t.Helper()
	if h.unary == nil {
		h.unary = echoUnary
	}
	if h.stream == nil {
		h.stream = echoStream
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.RegisterService(&testService, h)
	l := bufconn.Listen(pipeBytes)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l
}
