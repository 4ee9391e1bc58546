package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"raftkv/rpc/listen/certtest"
	"raftkv/rpc/peer"
	"raftkv/rpc/peer/peerpb"
)

// secured sets up TLS of one kind: "plain", "tls" or "mutual".
func secured(mode string, ca *certtest.Authority, p certtest.Pair) TLS {
	switch mode {
	case "plain":
		return TLS{}
	case "tls":
		return TLS{CertFile: p.CertFile, KeyFile: p.KeyFile}
	}
	return TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca.CertFile, ClientCertAuth: true}
}

func scheme(t TLS) string {
	if t.Configured() {
		return "https://"
	}
	return "http://"
}

// newSecureCluster has separate ports for clients and peers unless onePort.
func newSecureCluster(t *testing.T, size int, onePort bool, clients, peers TLS) *cluster {
	t.Helper()
	c := &cluster{t: t, servers: make([]*Server, size)}
	var members []Member
	for i := range size {
		members = append(members, Member{Name: fmt.Sprint(i + 1), PeerURLs: []string{scheme(peers) + freeAddress(t)}})
	}
	for _, m := range members {
		cfg := Config{
			Name: m.Name, Memory: true, InitialCluster: members, ListenPeerURLs: m.PeerURLs,
			ListenClientURLs:  []string{scheme(clients) + freeAddress(t)},
			HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
			ClientTLS: clients, PeerTLS: peers, Registry: prometheus.NewRegistry(),
		}
		if onePort {
			cfg.ListenClientURLs = m.PeerURLs
		}
		c.configs = append(c.configs, cfg)
	}
	t.Cleanup(c.stop)
	return c
}

// use checks that member i serves gRPC to etcd's client, and HTTP/1.1.
func (c *cluster) use(i int, config *tls.Config) {
	c.t.Helper()
	url := c.configs[i].ListenClientURLs[0]
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, TLS: config, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.Put(ctx, "name", "Alice"); err != nil {
		c.t.Fatalf("put over %s: %v", url, err)
	}
	for path, want := range map[string]string{"/kv/name": "Alice", "/version": "etcdserver", "/health": "true"} {
		if body := c.fetch(url+path, config, ""); !strings.Contains(body, want) {
			c.t.Errorf("GET %s: %q", path, body)
		}
	}
	if body := c.fetch(url+"/v3/kv/range", config, `{"key":"bmFtZQ=="}`); !strings.Contains(body, `"value":"QWxpY2U="`) {
		c.t.Errorf("the JSON gateway: %q", body)
	}
}

// fetch does what curl does: it offers HTTP/2 as well.
func (c *cluster) fetch(url string, config *tls.Config, body string) string {
	c.t.Helper()
	client, done := httpClient(config)
	defer done()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

func httpClient(config *tls.Config) (client *http.Client, done func()) {
	transport := &http.Transport{}
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		transport.TLSClientConfig, transport.ForceAttemptHTTP2 = config, true
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, transport.CloseIdleConnections
}

func TestTLSMatrix(t *testing.T) {
	clientCA, peerCA := certtest.NewAuthority(t, "clients"), certtest.NewAuthority(t, "peers")
	pair, peerPair := clientCA.Issue(certtest.Wish{CommonName: "server"}), peerCA.Issue(certtest.Wish{CommonName: "member"})
	for _, clients := range []string{"plain", "tls", "mutual"} {
		for _, peers := range []string{"plain", "mutual"} {
			t.Run(clients+" clients, "+peers+" peers", func(t *testing.T) {
				c := newSecureCluster(t, 3, false, secured(clients, clientCA, pair), secured(peers, peerCA, peerPair))
				c.startAll()
				var config *tls.Config
				if clients == "tls" {
					config = clientCA.Client(certtest.Pair{})
				}
				if clients == "mutual" {
					config = clientCA.Client(clientCA.Issue(certtest.Wish{CommonName: "client"}))
				}
				c.use(1, config)
			})
		}
	}
}

// TestOnePortTellsClientsFromPeers: both are certified by authorities of their
// own, and neither gets what is the other's.
func TestOnePortTellsClientsFromPeers(t *testing.T) {
	clientCA, peerCA := certtest.NewAuthority(t, "clients"), certtest.NewAuthority(t, "peers")
	pair, peerPair := clientCA.Issue(certtest.Wish{CommonName: "server"}), peerCA.Issue(certtest.Wish{CommonName: "member"})
	c := newSecureCluster(t, 3, true, secured("mutual", clientCA, pair), secured("mutual", peerCA, peerPair))
	logs := watchLogs(&c.configs[0])
	c.startAll()
	mine := clientCA.Client(clientCA.Issue(certtest.Wish{CommonName: "client"}))
	c.use(0, mine)

	ask := func(config *tls.Config, alpn ...string) error {
		config = config.Clone()
		config.NextProtos = append(alpn, "h2")
		conn, err := grpc.NewClient(strings.TrimPrefix(c.configs[0].ListenPeerURLs[0], "https://"), grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = peerpb.NewPeerClient(conn).Confirm(ctx, &peerpb.ConfirmRequest{})
		return err
	}
	if err := ask(mine); status.Code(err) != codes.Unimplemented {
		t.Errorf("a client asked the peer service: %v", err)
	}
	// As a member asks, but with a client's certificate.
	trusting := peerCA.Client(clientCA.Issue(certtest.Wish{CommonName: "client"}))
	if err := ask(trusting, peer.ALPN); status.Code(err) != codes.Unavailable {
		t.Errorf("a client asked the peer service as if it were a peer: %v", err)
	}
	logs.expect(t, "rejected connection on peer endpoint", "certificate signed by unknown authority")
	if err := ask(peerCA.Client(peerPair), peer.ALPN); err != nil {
		t.Errorf("a member asked the peer service: %v", err)
	}
}

// rejections hands on what is logged about rejected connections.
type rejections chan zapcore.Entry

// fieldsCore keeps the error of an entry in its message, for tests.
type fieldsCore struct {
	zapcore.LevelEnabler
	out rejections
}

func (f fieldsCore) With([]zapcore.Field) zapcore.Core { return f }
func (f fieldsCore) Sync() error                       { return nil }
func (f fieldsCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if strings.HasPrefix(e.Message, "rejected connection") {
		return ce.AddCore(e, f)
	}
	return ce
}

func (f fieldsCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Key == "error" {
			e.Message += ": " + err.Error()
		}
	}
	f.out <- e
	return nil
}

func watchLogs(cfg *Config) rejections {
	out := make(rejections, 1000)
	cfg.Logger = zap.New(fieldsCore{zapcore.WarnLevel, out})
	return out
}

func (r rejections) expect(t *testing.T, endpoint, reason string) {
	t.Helper()
	select {
	case e := <-r:
		if !strings.HasPrefix(e.Message, endpoint+": ") || !strings.Contains(e.Message, reason) {
			t.Errorf("logged %q, want %q because of %q", e.Message, endpoint, reason)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("nothing was logged about %q", reason)
	}
}

// attempt asks for /version on a connection of its own and returns whether it
// got an answer.
func attempt(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		config = config.Clone()
		config.ServerName = "localhost"
		conn = tls.Client(conn, config)
	}
	if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.Contains(answer, []byte("etcdserver")) {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}

func TestRefusedClients(t *testing.T) {
	ca, foreign := certtest.NewAuthority(t, "ours"), certtest.NewAuthority(t, "theirs")
	crl := filepath.Join(t.TempDir(), "crl.der")
	good, revoked := ca.Issue(certtest.Wish{CommonName: "app"}), ca.Issue(certtest.Wish{CommonName: "app"})
	ca.Revoke(crl)
	settings := secured("mutual", ca, ca.Issue(certtest.Wish{CommonName: "server"}))
	settings.CRLFile, settings.AllowedCNs = crl, []string{"app", "operator"}
	c := newSecureCluster(t, 1, false, settings, TLS{})
	logs := watchLogs(&c.configs[0])
	c.startAll()
	address := strings.TrimPrefix(c.configs[0].ListenClientURLs[0], "https://")
	for _, p := range []certtest.Pair{good, revoked} {
		if err := attempt(t, address, ca.Client(p)); err != nil {
			t.Fatalf("before anything was revoked: %v", err)
		}
	}
	ca.Revoke(crl, revoked)
	self := certtest.NewAuthority(t, "myself")
	for i, tc := range []struct {
		name   string
		config *tls.Config
		reason string
	}{
		{"plain text", nil, "first record does not look like a TLS handshake"},
		{"no certificate", ca.Client(certtest.Pair{}), "client didn't provide a certificate"},
		{"foreign certificate", ca.Client(foreign.Issue(certtest.Wish{CommonName: "app"})), "unknown authority"},
		{"self-signed certificate", ca.Client(self.Issue(certtest.Wish{CommonName: "app"})), "unknown authority"},
		{"expired certificate", ca.Client(ca.Issue(certtest.Wish{CommonName: "app", Expired: true})), "expired"},
		{"revoked certificate", ca.Client(revoked), "revoked"},
		{"another common name", ca.Client(ca.Issue(certtest.Wish{CommonName: "guest"})), "client certificate authentication failed"},
		{"an untrusting client", foreign.Client(good), "tls: "},
		{"an old version", oldVersion(ca.Client(good)), "unsupported versions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := attempt(t, address, tc.config); err == nil {
				t.Error("was served")
			}
			logs.expect(t, "rejected connection on client endpoint", tc.reason)
			want := fmt.Sprintf("raftkv_listen_rejected_connections_total{endpoint=\"client\"} %d\n", i+1)
			if got := scrape(t, c.configs[0].Registry); !strings.Contains(got, want) {
				t.Errorf("the metrics do not say %q", want)
			}
		})
	}
	if err := attempt(t, address, ca.Client(good)); err != nil {
		t.Errorf("a good client after all of that: %v", err)
	}
	if n := len(logs); n != 0 {
		t.Errorf("%d more rejections logged than there were", n)
	}
}

func oldVersion(c *tls.Config) *tls.Config {
	c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	return c
}

func scrape(t *testing.T, from prometheus.Gatherer) string {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestRefusedPeers: on a port of its own the peer service takes only callers
// that the peers' authority certified, for the address they call from.
func TestRefusedPeers(t *testing.T) {
	ca, foreign := certtest.NewAuthority(t, "ours"), certtest.NewAuthority(t, "theirs")
	c := newSecureCluster(t, 1, false, TLS{}, secured("mutual", ca, ca.Issue(certtest.Wish{})))
	logs := watchLogs(&c.configs[0])
	c.startAll()
	address := strings.TrimPrefix(c.configs[0].ListenPeerURLs[0], "https://")
	for _, tc := range []struct {
		name   string
		config *tls.Config
		reason string
	}{
		{"plain text", nil, "first record does not look like a TLS handshake"},
		{"no certificate", ca.Client(certtest.Pair{}), "client didn't provide a certificate"},
		{"foreign certificate", ca.Client(foreign.Issue(certtest.Wish{})), "unknown authority"},
		{"expired certificate", ca.Client(ca.Issue(certtest.Wish{Expired: true})), "expired"},
		{"certificate of another machine", ca.Client(ca.Issue(certtest.Wish{Hosts: []string{"192.0.2.1"}})), "not for the caller's address 127.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := attempt(t, address, tc.config); err == nil {
				t.Error("was served")
			}
			logs.expect(t, "rejected connection on peer endpoint", tc.reason)
		})
	}
}

// TestCertificatesAreReloaded replaces the files under a member that runs.
func TestCertificatesAreReloaded(t *testing.T) {
	ca := certtest.NewAuthority(t, "ours")
	pair := ca.Issue(certtest.Wish{})
	c := newSecureCluster(t, 1, false, secured("tls", ca, pair), TLS{})
	c.startAll()
	address := strings.TrimPrefix(c.configs[0].ListenClientURLs[0], "https://")
	shown := func() string {
		config := ca.Client(certtest.Pair{})
		config.ServerName = "localhost"
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := shown(); got != pair.Serial.String() {
		t.Errorf("certificate %s is shown, want %s", got, pair.Serial)
	}
	if renewed := ca.Renew(pair, certtest.Wish{}).String(); shown() != renewed {
		t.Errorf("the renewed certificate %s is not shown", renewed)
	}
}

// TestAutomaticTLS makes certificates once and keeps them over a restart.
func TestAutomaticTLS(t *testing.T) {
	root := t.TempDir() // removed after the members have stopped
	c := newSecureCluster(t, 3, false, TLS{Auto: true}, TLS{Auto: true})
	for i := range c.configs {
		c.configs[i].Memory, c.configs[i].DataDir = false, filepath.Join(root, c.configs[i].Name)
	}
	c.startAll()
	anyone := &tls.Config{InsecureSkipVerify: true}
	c.use(0, anyone)
	file := filepath.Join(c.configs[0].DataDir, "member", "fixtures", "client", "cert.pem")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	for i := range c.configs {
		c.configs[i].Registry = prometheus.NewRegistry()
	}
	c.startAll()
	c.use(2, anyone)
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the certificate changed with a restart (%v)", err)
	}
}

// TestURLsOfEveryKind serves http and https on one port, HTTP and metrics on
// ports of their own, and gRPC on a socket.
func TestURLsOfEveryKind(t *testing.T) {
	ca := certtest.NewAuthority(t, "ours")
	c := newSecureCluster(t, 1, false, secured("tls", ca, ca.Issue(certtest.Wish{})), TLS{})
	cfg := &c.configs[0]
	shared, overHTTP, metrics := freeAddress(t), freeAddress(t), freeAddress(t)
	socket := filepath.Join(t.TempDir(), "kv.sock")
	cfg.ListenClientURLs = []string{"http://" + shared, "https://" + shared, "unix://" + socket}
	cfg.ListenClientHTTPURLs = []string{"https://" + overHTTP}
	cfg.ListenMetricsURLs = []string{"http://" + metrics}
	c.startAll()
	trusting := ca.Client(certtest.Pair{})
	for _, tc := range []struct {
		endpoint string
		config   *tls.Config
	}{{"http://" + shared, nil}, {"https://" + shared, trusting}, {"unix://" + socket, nil}} {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{tc.endpoint}, TLS: tc.config, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), "name", "Alice"); err != nil {
			t.Errorf("%s: %v", tc.endpoint, err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if got := c.fetch("https://"+overHTTP+"/kv/name", trusting, ""); got != "Alice" {
		t.Errorf("over the HTTP URL: %q", got)
	}
	if got := c.fetch("http://"+metrics+"/metrics", nil, ""); !strings.Contains(got, "etcd_server_has_leader 1") {
		t.Errorf("over the metrics URL: %q", got)
	}
	if got := c.fetch("http://"+metrics+"/kv/name", nil, ""); strings.Contains(got, "Alice") {
		t.Error("the metrics URL serves data")
	}
	for _, config := range []*tls.Config{nil, trusting} {
		if err := attempt(t, shared, config); err == nil {
			t.Error("a URL for gRPC alone serves HTTP")
		}
	}
}
