package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"raftkv/rpc/listen"
	"raftkv/rpc/rpctest"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// pipes is a listener whose connections are net.Pipes, so that deadlines run
// on the clock of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		if c == nil {
			return nil, errors.New("too many open files")
		}
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// split makes a splitter inside a bubble; it is closed by the caller.
func split(t *testing.T, opts listen.Options) (*pipes, *listen.Splitter) {
	t.Helper()
	p := newPipes()
	s, err := listen.Split(p, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

func closeAll(t *testing.T, closers ...io.Closer) {
	t.Helper()
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

// other is the preface of a third protocol.
const other = "PRINCIPALLY FOR MEMBERS\n"

func TestConnectionsGoWhereTheirFirstBytesSay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		chunks []string
		to     string
	}{
		{"HTTP/2 preface", []string{preface + "settings"}, "gRPC"},
		{"preface byte by byte", strings.Split(preface+"settings", ""), "gRPC"},
		{"GET", []string{"GET / HTTP/1.1\r\n\r\n"}, "HTTP"},
		{"a method that starts like the preface", []string{"P", "R", "OPFIND / HTTP/1.1\r\n\r\n"}, "HTTP"},
		{"almost the preface", []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!!"}, "HTTP"},
		{"one byte", []string{"x"}, "HTTP"},
		{"the other preface", []string{other + "frames"}, "other"},
		{"the other preface byte by byte", strings.Split(other+"frames", ""), "other"},
		{"almost the other preface", []string{other[:20], "!"}, "HTTP"},
		{"a method that starts like both", []string{"PRI", "NT / HTTP/1.1\r\n\r\n"}, "HTTP"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := split(t, listen.Options{Entrances: []listen.Entrance{{Other: other}}})
				client := p.dial()
				sent := strings.Join(tc.chunks, "")
				go func() {
					for _, chunk := range tc.chunks {
						if _, err := client.Write([]byte(chunk)); err != nil {
							t.Errorf("writing: %v", err)
						}
					}
				}()
				halves := map[string]net.Listener{"HTTP": s.HTTP(), "gRPC": s.GRPC(), "other": s.Other(0)}
				server, err := halves[tc.to].Accept()
				if err != nil {
					t.Fatal(err)
				}
				// The deadline of sniffing must not outlive it.
				<-time.After(time.Hour)
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(server, got); err != nil || string(got) != sent {
					t.Errorf("read %q, %v; sent %q", got, err, sent)
				}
				closeAll(t, client, server, s)
				for name, half := range halves {
					if c, err := half.Accept(); !errors.Is(err, net.ErrClosed) {
						t.Errorf("%s got %v, %v, too", name, c, err)
					}
				}
			})
		})
	}
}

func TestSilentConnectionIsClosedAtTheDeadline(t *testing.T) {
	for _, start := range []string{"", "PRI * HT"} {
		synctest.Test(t, func(t *testing.T) {
			m := listen.NewMetrics()
			p, s := split(t, listen.Options{Deadline: 3 * time.Second, Metrics: m})
			client := p.dial()
			begin := time.Now()
			if _, err := client.Write([]byte(start)); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read: %v, want the end", err)
			}
			if took := time.Since(begin); took != 3*time.Second {
				t.Errorf("closed after %v", took)
			}
			synctest.Wait()
			expect(t, m, 0, 0, 1)
			closeAll(t, client, s)
		})
	}
}

// expect compares what the metrics say.
func expect(t *testing.T, m *listen.Metrics, pending, refused, timedOut int) {
	t.Helper()
	got := rpctest.Metrics(t, m)
	for name, want := range map[string]int{
		"raftkv_listen_pending_connections":         pending,
		"raftkv_listen_refused_connections_total":   refused,
		"raftkv_listen_timed_out_connections_total": timedOut,
	} {
		if !strings.Contains(got, fmt.Sprintf("\n%s %d\n", name, want)) {
			t.Errorf("%s is not %d in\n%s", name, want, got)
		}
	}
}

func TestFullTableRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := listen.NewMetrics()
		p, s := split(t, listen.Options{PendingMax: 2, Metrics: m})
		one, two := p.dial(), p.dial()
		synctest.Wait()
		three := p.dial()
		if _, err := three.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the third connection: %v, want the end", err)
		}
		expect(t, m, 2, 1, 0)

		// A slot is free again once a connection has shown itself.
		go func() {
			if _, err := one.Write([]byte("GET /")); err != nil {
				t.Errorf("writing: %v", err)
			}
		}()
		served, err := s.HTTP().Accept()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		four := p.dial()
		synctest.Wait()
		expect(t, m, 2, 1, 0)
		closeAll(t, s, one, two, three, four, served)
	})
}

func TestCloseEndsPendingConnectionsAndHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := split(t, listen.Options{})
		silent, unserved := p.dial(), p.dial()
		if _, err := unserved.Write([]byte("GET /")); err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error)
		go func() { _, err := s.GRPC().Accept(); accepted <- err }()
		synctest.Wait()
		closeAll(t, s, s) // closing twice is fine
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		for _, c := range []net.Conn{silent, unserved} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a pending connection: %v, want the end", err)
			}
			closeAll(t, c)
		}
	})
}

func TestHalfThatIsNotServedRefusesItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := split(t, listen.Options{})
		closeAll(t, s.HTTP())
		c := p.dial()
		if _, err := c.Write([]byte("GET /")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%v, want the end", err)
		}
		closeAll(t, c, s)
	})
}

func TestAcceptIsRetriedAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := split(t, listen.Options{})
		for range 3 {
			p.conns <- nil
		}
		c := p.dial()
		go func() {
			if _, err := c.Write([]byte("GET /")); err != nil {
				t.Errorf("writing: %v", err)
			}
		}()
		served, err := s.HTTP().Accept()
		if err != nil {
			t.Fatal(err)
		}
		closeAll(t, c, served, s)
	})
}

// TestOnePort drives a stock gRPC client and HTTP/1.1 by hand, as curl speaks
// it, through one TCP port, plain and with TLS.
func TestOnePort(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) { onePort(t, secure) })
	}
}

func onePort(t *testing.T, secure bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts, cfg := listen.Options{}, listen.GRPCConfig{}
	creds := insecure.NewCredentials()
	dial := func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
	if secure {
		serverTLS, clientTLS := certificates(t)
		opts.Entrances = []listen.Entrance{{TLS: serverTLS}}
		cfg.Credentials = listen.FinishedTLS()
		creds = credentials.NewTLS(clientTLS)
		dial = func() (net.Conn, error) { return tls.Dial("tcp", l.Addr().String(), clientTLS) }
	}
	s, err := listen.Split(l, opts)
	if err != nil {
		t.Fatal(err)
	}
	server, _, err := listen.NewGRPCServer(cfg, func(grpc.ServiceRegistrar) {})
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.Proto)
	})}
	served := make(chan error, 2)
	go func() { served <- server.Serve(s.GRPC()) }()
	go func() { served <- web.Serve(s.HTTP()) }()

	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	health, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC: %v, %v", health, err)
	}
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello HTTP/1.1" {
		t.Errorf("HTTP: %q, %v", body, err)
	}
	closeAll(t, resp.Body, c, conn)
	server.GracefulStop()
	if err := web.Shutdown(context.Background()); err != nil {
		t.Errorf("stopping net/http: %v", err)
	}
	closeAll(t, s)
	for range 2 {
		if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving: %v", err)
		}
	}
}

func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	server = &tls.Config{Certificates: ts.TLS.Certificates, NextProtos: []string{"http/1.1", "h2"}}
	return server, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func TestRPCStats(t *testing.T) {
	stats := listen.NewRPCStats()
	server, _, err := listen.NewGRPCServer(listen.GRPCConfig{Stats: stats}, func(grpc.ServiceRegistrar) {})
	if err != nil {
		t.Fatal(err)
	}
	// A second server that shares the counters must not disturb the first.
	if _, _, err := listen.NewGRPCServer(listen.GRPCConfig{Stats: stats}, func(grpc.ServiceRegistrar) {}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := healthpb.NewHealthClient(conn)
	for _, service := range []string{"", "", "no such service"} {
		_, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{Service: service})
		if (err != nil) != (service != "") {
			t.Errorf("checking %q: %v", service, err)
		}
	}
	closeAll(t, conn)
	server.GracefulStop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	got := rpctest.Metrics(t, stats)
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 3`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 2`,
		`grpc_server_handled_total{grpc_code="NotFound",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s in\n%s", want, got)
		}
	}
}

func TestConfigsReportEveryFault(t *testing.T) {
	_, err := listen.Split(newPipes(), listen.Options{Deadline: -1, PendingMax: -1})
	if err == nil || !strings.Contains(err.Error(), "Deadline") || !strings.Contains(err.Error(), "PendingMax") {
		t.Errorf("options: %v", err)
	}
	_, _, err = listen.NewGRPCServer(listen.GRPCConfig{RequestBytesMax: -1, KeepaliveMinTime: -1}, func(grpc.ServiceRegistrar) {})
	if err == nil || !strings.Contains(err.Error(), "RequestBytesMax") || !strings.Contains(err.Error(), "KeepaliveMinTime") {
		t.Errorf("gRPC: %v", err)
	}
}
