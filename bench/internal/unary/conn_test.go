package unary_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/unary"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const check = "/grpc.health.v1.Health/Check"

// serve runs gRPC's own server until the test, or stop, ends it.
func serve(t *testing.T, address string) (bound string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	h := health.NewServer()
	h.SetServingStatus("odd name % \n", healthpb.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			s.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func newConn(t *testing.T, address string) *unary.Conn {
	c := unary.New(address)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func ask(ctx context.Context, c *unary.Conn, service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
	var answer healthpb.HealthCheckResponse
	err := c.Invoke(ctx, check, &healthpb.HealthCheckRequest{Service: service}, &answer)
	return answer.GetStatus(), err
}

// TestCalls has many callers share a connection; each gets its own answer.
func TestCalls(t *testing.T) {
	address, _ := serve(t, "127.0.0.1:0")
	c := newConn(t, address)
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 200 {
				service, want := "", healthpb.HealthCheckResponse_SERVING
				if i%2 == 0 {
					service, want = "odd name % \n", healthpb.HealthCheckResponse_NOT_SERVING
				}
				if got, err := ask(ctx, c, service); err != nil || got != want {
					t.Errorf("service %q: %v, %v", service, got, err)
					return
				}
			}
		})
	}
	callers.Wait()
}

// TestStatus: what the server says of a failure arrives.
func TestStatus(t *testing.T) {
	address, _ := serve(t, "127.0.0.1:0")
	c := newConn(t, address)
	if _, err := ask(t.Context(), c, "nobody"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "unknown service") {
		t.Errorf("an unknown service: %v", err)
	}
	err := c.Invoke(t.Context(), "/no.Service/Method", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
	if _, err := ask(t.Context(), c, strings.Repeat("x", 1<<17)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a request beyond the server's window: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, err := ask(ended, c, ""); err != nil && status.Code(err) != codes.Canceled && status.Code(err) != codes.Unavailable {
			t.Fatalf("a call of a context that has ended: %v", err)
		}
		if got, err := ask(t.Context(), c, ""); err != nil || got != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("the call after it: %v, %v", got, err)
		}
	}
}

// TestBrokenConnection: calls fail as Unavailable, and those after the server
// has come back succeed.
func TestBrokenConnection(t *testing.T) {
	address, stop := serve(t, "127.0.0.1:0")
	c := newConn(t, address)
	if _, err := ask(t.Context(), c, ""); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := ask(t.Context(), c, ""); status.Code(err) != codes.Unavailable {
		t.Fatalf("without a server: %v", err)
	}
	serve(t, address)
	if got, err := ask(t.Context(), c, ""); err != nil || got != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("with a server again: %v, %v", got, err)
	}
	if _, err := c.NewStream(t.Context(), nil, check); status.Code(err) != codes.Unimplemented {
		t.Errorf("a stream: %v", err)
	}
}
