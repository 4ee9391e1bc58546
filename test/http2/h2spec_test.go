package http2

import (
	"net"
	"testing"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
	"google.golang.org/grpc/credentials"

	"raftkv/rpc/h2"
	"raftkv/rpc/listen/certtest"
)

// TestH2spec runs every case of h2spec, the strict ones included; none is left
// out. The server is asked without the entrance of package listen, which leaves
// what is no HTTP/2 to net/http. h2spec asks by GET, so what it sees beside errors is how HTTP without gRPC is
// refused, on streams like all others.
func TestH2spec(t *testing.T) {
	t.Run("plain", func(t *testing.T) { runSpec(t, false) })
	t.Run("tls", func(t *testing.T) { runSpec(t, true) })
}

func runSpec(t *testing.T, secure bool) {
	settings := h2.Config{ConcurrentStreamsMax: 100} // there is a case of one stream too many
	if secure {
		settings.Credentials = credentials.NewTLS(certificate(t, certtest.NewAuthority(t, "h2spec")))
	}
	l := bind(t)
	serve(t, l, settings)
	addr := l.Addr().(*net.TCPAddr)
	ok, err := h2spec.Run(&config.Config{
		Host: addr.IP.String(), Port: addr.Port, Path: "/", Timeout: 2 * time.Second,
		MaxHeaderLen: 4000, Strict: true, TLS: secure, Insecure: secure,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Error("h2spec found faults; they are listed above")
	}
}
