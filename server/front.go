package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"raftkv/rpc/listen"
	"raftkv/rpc/peer"
)

// port is one address with what it serves.
type port struct {
	address        string
	clients, peers bool
	listener       net.Listener
	splitter       *listen.Splitter
	grpc           *grpc.Server
	health         *health.Server
	http           *http.Server
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
	byAddress := map[string]*port{}
	add := func(urls []string, mark func(*port)) error {
		for _, s := range urls {
			u, err := url.Parse(s)
			if err != nil {
				return err
			}
			p := byAddress[u.Host]
			if p == nil {
				p = &port{address: u.Host}
				if p.listener, err = net.Listen("tcp", u.Host); err != nil {
					return portError(u.Host, err)
				}
				byAddress[u.Host] = p
				f.ports = append(f.ports, p)
			}
			mark(p)
		}
		return nil
	}
	err := errors.Join(
		add(cfg.ListenClientURLs, func(p *port) { p.clients = true }),
		add(cfg.ListenPeerURLs, func(p *port) { p.peers = true }))
	if err != nil {
		for _, p := range f.ports {
			err = errors.Join(err, p.listener.Close())
		}
		return nil, err
	}
	return f, nil
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
	web     http.Handler
	stats   *listen.RPCStats
	metrics *listen.Metrics
}

// serve starts to answer on every port.
func (f *front) serve(cfg *Config, s services) error {
	for _, p := range f.ports {
		if err := f.open(p, cfg, s); err != nil {
			return err
		}
	}
	for _, p := range f.ports {
		f.serving.Go(func() { f.ended(p, p.grpc.Serve(p.splitter.GRPC())) })
		f.serving.Go(func() { f.ended(p, p.http.Serve(p.splitter.HTTP())) })
	}
	return nil
}

func (f *front) open(p *port, cfg *Config, s services) (err error) {
	config := listen.GRPCConfig{RequestBytesMax: cfg.MaxRequestBytes, Stats: s.stats}
	if p.peers {
		config.Extra = peer.ServerOptions()
	}
	register := func(r grpc.ServiceRegistrar) {
		if p.clients {
			s.clients(r)
		}
		if p.peers {
			s.peers(r)
		}
	}
	p.grpc, p.health, err = listen.NewGRPCServer(config, register)
	if err != nil {
		return err
	}
	// Not serving until the member knows a leader.
	p.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	handler := s.web
	if !p.clients {
		handler = http.NotFoundHandler()
	}
	p.http = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	p.splitter, err = listen.Split(p.listener, listen.Options{Logger: cfg.Logger, Metrics: s.metrics})
	return err
}

func (f *front) ended(p *port, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
		f.fail(fmt.Errorf("serve on %s: %w", p.address, err))
	}
}

// ready tells health checks that the member serves.
func (f *front) ready() {
	for _, p := range f.ports {
		p.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	}
}

// When the member stops, requests in flight get drainTime to finish, and
// members that talk to it get peerTime.
const (
	peerTime  = 300 * time.Millisecond
	drainTime = 2 * time.Second
)

// stop refuses new requests, gives those in flight time to finish, and closes
// the ports. Streams of peers end only by closePeers, which is called meanwhile.
func (f *front) stop(closePeers func()) error {
	var errs []error
	var draining sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	early := time.AfterFunc(peerTime, closePeers)
	defer early.Stop()
	for _, p := range f.ports {
		if p.splitter == nil {
			errs = append(errs, p.listener.Close())
			continue
		}
		draining.Go(func() { stopGRPC(ctx, p.grpc) })
		draining.Go(func() {
			if p.http.Shutdown(ctx) != nil {
				_ = p.http.Close() // it was given its time
			}
		})
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

func stopGRPC(ctx context.Context, s *grpc.Server) {
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
