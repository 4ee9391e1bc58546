package http2

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"raftkv/rpc/h2"
	"raftkv/rpc/listen/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is what a server shows.
func certificate(t *testing.T, by *certtest.Authority) *tls.Config {
	t.Helper()
	pair := by.Issue(certtest.Wish{CommonName: "server"})
	cert, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
}

// bind listens on loopback.
func bind(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve runs gRPC's test service on l until the test ends.
func serve(t *testing.T, l net.Listener, settings h2.Config) {
	t.Helper()
	server, err := h2.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
