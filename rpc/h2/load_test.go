package h2

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// dial is a client of grpc-go, on one connection.
func dial(t testing.TB, l *bufconn.Listener, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:test", append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func patternOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// Large messages pass through the smallest windows, both ways, on many streams
// at once.
func TestLargeMessagesThroughSmallWindows(t *testing.T) {
	cfg := Config{MessageBytesMax: 32 << 20, StreamWindowBytes: windowBytesDefault, ConnWindowBytes: windowBytesDefault}
	_, l := serve(t, cfg, handlers{})
	cc := dial(t, l, grpc.WithStaticStreamWindowSize(windowBytesDefault), grpc.WithStaticConnWindowSize(windowBytesDefault))
	var all errgroup.Group
	for i := range 4 {
		m := &wrapperspb.BytesValue{Value: patternOf(5<<20 + i)}
		all.Go(func() error { return echo(cc, m) })
		all.Go(func() error { return echoes(cc, m, 2) })
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func echo(cc *grpc.ClientConn, m *wrapperspb.BytesValue) error {
	var got wrapperspb.BytesValue
	if err := cc.Invoke(context.Background(), unaryPath, m, &got); err != nil {
		return err
	}
	return same(&got, m)
}

func same(got, want *wrapperspb.BytesValue) error {
	if !bytes.Equal(got.Value, want.Value) {
		return status.Errorf(codes.DataLoss, "%d bytes came back as %d others", len(want.Value), len(got.Value))
	}
	return nil
}

// echoes sends a message so many times on one stream before it reads on.
func echoes(cc *grpc.ClientConn, m *wrapperspb.BytesValue, times int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := cc.NewStream(ctx, &testService.Streams[0], streamPath)
	if err != nil {
		return err
	}
	var sending errgroup.Group
	sending.Go(func() error {
		for range times {
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
		return s.CloseSend()
	})
	for range times {
		var got wrapperspb.BytesValue
		if err := s.RecvMsg(&got); err != nil {
			return err
		}
		if err := same(&got, m); err != nil {
			return err
		}
	}
	if err := s.RecvMsg(&wrapperspb.BytesValue{}); err == nil {
		return status.Error(codes.DataLoss, "a message too many")
	} else if err != io.EOF {
		return err
	}
	return sending.Wait()
}

// Many requests of all kinds on one connection, some given up at any moment, and
// one that lasts: each is answered with its own.
func TestManyStreams(t *testing.T) {
	_, l := serve(t, Config{StreamWindowBytes: windowBytesDefault, ConnWindowBytes: windowBytesDefault}, handlers{})
	cc := dial(t, l)
	var all errgroup.Group
	all.Go(func() error { return echoes(cc, &wrapperspb.BytesValue{Value: patternOf(1000)}, 2000) })
	for i := range uint64(64) {
		all.Go(func() error {
			rng := rand.New(rand.NewPCG(1, i))
			for range 50 {
				if err := someRequest(cc, rng); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func someRequest(cc *grpc.ClientConn, rng *rand.Rand) error {
	m := &wrapperspb.BytesValue{Value: patternOf(rng.IntN(1 << rng.IntN(18)))}
	switch rng.IntN(4) {
	case 0:
		return echoes(cc, m, rng.IntN(5))
	case 1: // given up
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(int(2*time.Millisecond))))
		defer cancel()
		var got wrapperspb.BytesValue
		err := cc.Invoke(ctx, unaryPath, m, &got)
		if err == nil {
			return same(&got, m)
		}
		if status.Code(err) != codes.DeadlineExceeded {
			return err
		}
		return nil
	}
	return echo(cc, m)
}

// Stopping in the middle of it all ends every request, one way or another.
func TestStopUnderLoad(t *testing.T) {
	for name, stop := range map[string]func(*Server){"stop": (*Server).Stop, "graceful": (*Server).GracefulStop} {
		t.Run(name, func(t *testing.T) {
			s, l := serve(t, Config{}, handlers{})
			cc := dial(t, l)
			var all errgroup.Group
			begun := make(chan struct{}, 1000)
			for i := range uint64(32) {
				all.Go(func() error {
					rng := rand.New(rand.NewPCG(2, i))
					for {
						err := someRequest(cc, rng)
						select {
						case begun <- struct{}{}:
						default:
						}
						switch {
						case status.Code(err) == codes.Unavailable:
							return nil
						case err != nil && err != io.EOF:
							return err
						}
					}
				})
			}
			for range 500 {
				<-begun
			}
			stop(s)
			if err := all.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
