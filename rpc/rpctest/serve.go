package rpctest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpcerr"
)

// Gate builds a gate in front of m.
func Gate(t testing.TB, m *Member, auth request.Authorizer, cfg request.Config) *request.Gate {
	t.Helper()
	table, err := rpcerr.New()
	if err != nil {
		t.Fatalf("building the error table: %v", err)
	}
	g, err := request.New(m, auth, table, cfg)
	if err != nil {
		t.Fatalf("building the gate: %v", err)
	}
	return g
}

// Serve runs the services that register adds on a connection in memory and
// returns a client connection to them. Both end with the test.
func Serve(t testing.TB, cfg listen.GRPCConfig, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	server, _, err := listen.NewGRPCServer(cfg, register)
	if err != nil {
		t.Fatalf("building the gRPC server: %v", err)
	}
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///rpctest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("closing the client connection: %v", err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return conn
}

// Listen serves what register adds on a port of its own until the test ends, and
// returns its address.
func Listen(t testing.TB, cfg listen.GRPCConfig, register func(grpc.ServiceRegistrar)) string {
	t.Helper()
	server, _, err := listen.NewGRPCServer(cfg, register)
	if err != nil {
		t.Fatalf("building the gRPC server: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return l.Addr().String()
}
