package listen_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"raftkv/rpc/listen"
	"raftkv/rpc/listen/certtest"
	"raftkv/rpc/rpctest"
)

// TestEntrances tells plain text, clients and peers apart on one port, each
// shown the certificate that is meant for it.
func TestEntrances(t *testing.T) {
	clients, peers := certtest.NewAuthority(t, "clients"), certtest.NewAuthority(t, "peers")
	forClients, forPeers := clients.Issue(certtest.Wish{CommonName: "for clients"}), peers.Issue(certtest.Wish{CommonName: "for peers"})
	server := func(p certtest.Pair) *tls.Config {
		cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	refusal := errors.New("not today")
	metrics := listen.NewMetrics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := listen.Split(l, listen.Options{Metrics: metrics, Entrances: []listen.Entrance{
		{}, {TLS: server(forClients)}, {TLS: server(forPeers), Ask: "peer", Endpoint: "peer", Check: func(_ context.Context, c *tls.Conn) error {
			if c.ConnectionState().ServerName == "refused.example" {
				return refusal
			}
			return nil
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan string)
	for i := range 3 {
		overGRPC, overHTTP := s.Halves(i)
		for name, half := range map[string]net.Listener{"gRPC": overGRPC, "HTTP": overHTTP} {
			go func() {
				for {
					c, err := half.Accept()
					if err != nil {
						arrived <- "closed"
						return
					}
					_ = c.Close()
					arrived <- fmt.Sprint(name, " ", i)
				}
			}()
		}
	}
	trusting := func(a *certtest.Authority, offer ...string) *tls.Config {
		c := a.Client(certtest.Pair{})
		c.ServerName, c.NextProtos = "localhost", offer
		return c
	}
	for _, tc := range []struct {
		name   string
		config *tls.Config
		say    string
		want   string
	}{
		{"plain HTTP", nil, "GET / HTTP/1.1\r\n", "HTTP 0"},
		{"plain gRPC", nil, preface, "gRPC 0"},
		{"HTTP of a client", trusting(clients, "h2", "http/1.1"), "GET / HTTP/1.1\r\n", "HTTP 1"},
		{"gRPC of a client", trusting(clients, "h2"), preface, "gRPC 1"},
		{"without ALPN", trusting(clients), preface, "gRPC 1"},
		{"gRPC of a peer", trusting(peers, "peer", "h2"), preface, "gRPC 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialAs(t, l.Addr().String(), tc.config)
			if _, err := io.WriteString(c, tc.say); err != nil {
				t.Fatal(err)
			}
			if got := <-arrived; got != tc.want {
				t.Errorf("arrived as %s, want %s", got, tc.want)
			}
			closeAll(t, c)
		})
	}
	refused := trusting(peers, "peer", "h2")
	refused.ServerName, refused.InsecureSkipVerify = "refused.example", true
	c := dialAs(t, l.Addr().String(), refused)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was checked and refused can be read from")
	}
	_ = c.Close() // reset already
	closeAll(t, s)
	for range 6 {
		if got := <-arrived; got != "closed" {
			t.Errorf("%s arrived after Close", got)
		}
	}
	got := rpctest.Metrics(t, metrics)
	for endpoint, n := range map[string]int{"client": 0, "peer": 1} {
		if want := fmt.Sprintf("raftkv_listen_rejected_connections_total{endpoint=%q} %d\n", endpoint, n); !strings.Contains(got, want) {
			t.Errorf("missing %s in %s", want, got)
		}
	}
}

func dialAs(t *testing.T, address string, config *tls.Config) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if config == nil {
		return c
	}
	return tls.Client(c, config)
}

func TestTLSOnAPlainPortIsRejected(t *testing.T) {
	metrics := listen.NewMetrics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := listen.Split(l, listen.Options{Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	c := dialAs(t, l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err := c.(*tls.Conn).HandshakeContext(t.Context()); err == nil {
		t.Error("the handshake succeeded")
	}
	_ = c.Close() // reset already
	closeAll(t, s)
	if got := rpctest.Metrics(t, metrics); !strings.Contains(got, `rejected_connections_total{endpoint="client"} 1`) {
		t.Errorf("not counted in %s", got)
	}
}

func TestEntrancesThatCannotBeToldApart(t *testing.T) {
	some := &tls.Config{MinVersion: tls.VersionTLS12}
	for want, entrances := range map[string][]listen.Entrance{
		"2 entrances in plain text":      {{}, {}},
		`2 entrances with TLS and Ask "`: {{TLS: some}, {TLS: some}},
	} {
		if _, err := listen.Split(newPipes(), listen.Options{Entrances: entrances}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestFinishedTLSNeedsASplitter(t *testing.T) {
	a, b := net.Pipe()
	if _, _, err := listen.FinishedTLS().ServerHandshake(a); err == nil {
		t.Error("a connection in plain text passed")
	}
	closeAll(t, a, b)
}
