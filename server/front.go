package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"raftkv/rpc/h2"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/listen"
	"raftkv/rpc/peer"
	"raftkv/rpc/request"
	"raftkv/rpc/web"
)

// duty is a set of what an entrance serves.
type duty uint8

const (
	serveClients duty = 1 << iota // gRPC for clients
	serveWeb                      // HTTP for clients
	serveMetrics                  // metrics and health alone
	servePeers
)

// port is one address with the entrances into it.
type port struct {
	address
	listener  net.Listener
	splitter  *listen.Splitter
	entrances []*entrance
}

// entrance serves one way into a port. What is not its duty cannot be reached
// through it: the servers do not know it.
type entrance struct {
	endpoint string
	secure   bool
	duties   duty
	grpc     *h2.Server     // nil without duties in gRPC
	health   *health.Server // with grpc
	http     *http.Server   // nil without duties in HTTP
}

// front is every port of a member.
type front struct {
	ports   []*port
	serving sync.WaitGroup
	fail    func(error)
}

// bind opens the ports, before anything else is touched.
func bind(cfg *Config, fail func(error)) (*front, error) {
	f := &front{fail: fail}
	clients := serveClients | serveWeb
	if len(cfg.ListenClientHTTPURLs) > 0 {
		clients = serveClients
	}
	for _, list := range []struct {
		urls     []string
		endpoint string
		duties   duty
	}{
		{cfg.ListenClientURLs, "client", clients},
		{cfg.ListenClientHTTPURLs, "client", serveWeb},
		{cfg.ListenMetricsURLs, "client", serveMetrics},
		{cfg.ListenPeerURLs, "peer", servePeers},
	} {
		if err := f.add(list.urls, list.endpoint, list.duties); err != nil {
			for _, p := range f.ports {
				err = errors.Join(err, p.listener.Close())
			}
			return nil, err
		}
	}
	return f, nil
}

// add makes the ports of some URLs take on duties.
func (f *front) add(urls []string, endpoint string, duties duty) error {
	for _, s := range urls {
		a, err := parseURL(s)
		if err != nil {
			return err
		}
		p, err := f.port(a)
		if err != nil {
			return portError(a.host, err)
		}
		p.entrance(endpoint, a.secure).duties |= duties
	}
	return nil
}

func (f *front) port(a address) (*port, error) {
	for _, p := range f.ports {
		if p.network == a.network && p.host == a.host {
			return p, nil
		}
	}
	p := &port{address: a}
	var err error
	if a.network == "unix" {
		p.listener, err = transport.NewUnixListener(a.host)
	} else {
		p.listener, err = net.Listen(a.network, a.host)
	}
	if err != nil {
		return nil, err
	}
	f.ports = append(f.ports, p)
	return p, nil
}

// entrance returns the one for an endpoint. In plain text nobody can be told
// from anybody, so there is one for all.
func (p *port) entrance(endpoint string, secure bool) *entrance {
	for _, e := range p.entrances {
		if e.secure == secure && (!secure || e.endpoint == endpoint) {
			return e
		}
	}
	e := &entrance{endpoint: endpoint, secure: secure}
	p.entrances = append(p.entrances, e)
	return e
}

func portError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %s is busy: another process listens there; stop it or choose another port", address)
	}
	return fmt.Errorf("cannot listen on %s: %w; check the address", address, err)
}

// services are what the ports offer.
type services struct {
	clients func(grpc.ServiceRegistrar)
	peers   func(grpc.ServiceRegistrar)
	lanes   func(net.Listener) error // serves those of peers
	web     *web.Handler
	stats   *listen.RPCStats
	calls   *listen.ClientRequests
	metrics *listen.Metrics
	frames  *kvstream.Metrics
	tls     *security
	// guard ends streams that demand a leader.
	guard *request.StreamGuard
}

// serve starts to answer on every port.
func (f *front) serve(cfg *Config, s services) error {
	for _, p := range f.ports {
		if err := p.open(cfg, s); err != nil {
			return err
		}
	}
	for _, p := range f.ports {
		for i, e := range p.entrances {
			overGRPC, overHTTP := p.splitter.Halves(i)
			f.start(p, overGRPC, e.grpc != nil, func() error { return e.grpc.Serve(overGRPC) })
			f.start(p, overHTTP, e.http != nil, func() error { return e.http.Serve(overHTTP) })
			lanes := p.splitter.Other(i)
			f.start(p, lanes, e.duties&servePeers != 0, func() error { return s.lanes(lanes) })
		}
	}
	return nil
}

// start serves one protocol of an entrance, or refuses its connections.
func (f *front) start(p *port, l net.Listener, served bool, serve func() error) {
	f.serving.Go(func() {
		if !served {
			f.ended(p, l.Close())
			return
		}
		f.ended(p, serve())
	})
}

// open builds the servers of a port and begins to accept.
func (p *port) open(cfg *Config, s services) (err error) {
	var ways []listen.Entrance
	for _, e := range p.entrances {
		if err := e.build(cfg, s); err != nil {
			return err
		}
		ways = append(ways, p.way(e, s.tls))
	}
	p.splitter, err = listen.Split(p.listener, listen.Options{Entrances: ways, Logger: cfg.Logger, Metrics: s.metrics})
	return err
}

// way is the entrance as the splitter sees it.
func (p *port) way(e *entrance, tls *security) listen.Entrance {
	way := listen.Entrance{Endpoint: e.endpoint}
	if e.duties&servePeers != 0 {
		way.Other = peer.Preface
	}
	switch {
	case !e.secure:
	case e.endpoint == "peer":
		way.TLS, way.Check = tls.peers, tls.checkPeer
		// Alone it takes whoever comes; the certificate decides.
		if p.sharesTLS() {
			way.Ask = peer.ALPN
		}
	default:
		way.TLS = tls.clients
	}
	return way
}

func (p *port) sharesTLS() bool {
	secured := 0
	for _, e := range p.entrances {
		if e.secure {
			secured++
		}
	}
	return secured > 1
}

// build makes the servers for the duties of an entrance.
func (e *entrance) build(cfg *Config, s services) (err error) {
	if e.duties&(serveClients|servePeers) != 0 {
		e.grpc, e.health, err = listen.NewGRPCServer(e.grpcConfig(cfg, s), func(r grpc.ServiceRegistrar) {
			if e.duties&serveClients != 0 {
				s.clients(r)
			}
			if e.duties&servePeers != 0 {
				s.peers(r)
			}
		})
		if err != nil {
			return err
		}
		// Not serving until the member knows a leader.
		e.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	}
	handler := http.NotFoundHandler()
	switch {
	case e.duties&serveWeb != 0:
		handler = s.web
	case e.duties&serveMetrics != 0:
		handler = s.web.Metrics()
	case e.duties&servePeers == 0:
		return nil
	}
	complaints, err := zap.NewStdLogAt(cfg.Logger.Named("http"), zap.DebugLevel)
	if err != nil {
		return err
	}
	e.http = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: complaints}
	return nil
}

// peerStreamsMin leaves room for what a member has under way on one connection.
const peerStreamsMin = 128

func (e *entrance) grpcConfig(cfg *Config, s services) listen.GRPCConfig {
	c := listen.GRPCConfig{
		RequestBytesMax: cfg.MaxRequestBytes, ConcurrentStreamsMax: cfg.MaxConcurrentStreams, Stats: s.stats,
		KeepaliveMinTime: cfg.KeepaliveMinTime, KeepaliveInterval: cfg.KeepaliveInterval, KeepaliveTimeout: cfg.KeepaliveTimeout,
		Slow: listen.SlowRequests{Threshold: cfg.WarnUnaryDuration, Logger: cfg.Logger},
	}
	if e.secure {
		c.Credentials = listen.FinishedTLS()
	}
	if e.duties&serveClients != 0 {
		c.Clients = s.calls
		c.Streams = []grpc.StreamServerInterceptor{s.guard.Intercept}
	}
	if e.duties&servePeers == 0 {
		return c
	}
	if c.ConcurrentStreamsMax > 0 {
		c.ConcurrentStreamsMax = max(c.ConcurrentStreamsMax, peerStreamsMin)
	}
	c.Adjust = func(settings *h2.Config) { peer.AdjustServer(settings, e.duties&serveClients != 0) }
	return c
}

func (f *front) ended(p *port, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
		f.fail(fmt.Errorf("serve on %s: %w", p.host, err))
	}
}

// ready tells health checks that the member serves.
func (f *front) ready() {
	for _, p := range f.ports {
		for _, e := range p.entrances {
			if e.health != nil {
				e.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
			}
		}
	}
}

// When the member stops, requests in flight get drainTime to finish, and
// members that talk to it get peerTime.
const (
	peerTime  = 300 * time.Millisecond
	drainTime = 2 * time.Second
)

// stop refuses new requests, gives those in flight time to finish, and closes
// the ports. What peers send ends only by closePeers, which is called meanwhile;
// deserted is closed when they send nothing any more.
func (f *front) stop(closePeers func(), deserted <-chan struct{}) error {
	var errs []error
	var draining sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	early := time.AfterFunc(peerTime, closePeers)
	defer early.Stop()
	draining.Go(func() {
		select {
		case <-deserted:
		case <-ctx.Done():
		}
	})
	for _, p := range f.ports {
		if p.splitter == nil {
			errs = append(errs, p.listener.Close())
			continue
		}
		for _, e := range p.entrances {
			draining.Go(func() { stopGRPC(ctx, e.grpc) })
			draining.Go(func() { stopHTTP(ctx, e.http) })
		}
	}
	draining.Wait()
	for _, p := range f.ports {
		if p.splitter != nil {
			errs = append(errs, p.splitter.Close())
		}
	}
	f.serving.Wait()
	return errors.Join(errs...)
}

func stopHTTP(ctx context.Context, s *http.Server) {
	if s != nil && s.Shutdown(ctx) != nil {
		_ = s.Close() // it was given its time
	}
}

func stopGRPC(ctx context.Context, s *h2.Server) {
	if s == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
}
