package listen

import (
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"raftkv/rpc/h2"
)

// GRPCConfig is what a gRPC server is built from. Defaults are etcd's.
type GRPCConfig struct {
	// RequestBytesMax is the largest request; a message may be 512 KiB larger,
	// so that an oversized request is refused by the handler, with etcd's
	// error, and not by gRPC. Default 1.5 MiB.
	RequestBytesMax int
	// ConcurrentStreamsMax bounds the requests in flight per connection.
	// Default: no bound but the node's queues.
	ConcurrentStreamsMax uint32
	// KeepaliveMinTime is how often a client may ping; one that pings more
	// often is disconnected. Default 5 s.
	KeepaliveMinTime time.Duration
	// KeepaliveInterval is the idle time after which the server pings,
	// KeepaliveTimeout how long it waits then. Default 2 h and 20 s.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// Credentials take over connections that a Splitter has handed on; nil
	// without TLS.
	Credentials credentials.TransportCredentials
	// Stats counts requests. Default: not exported.
	Stats *RPCStats
	// Clients counts requests by the client's version. Default: it does not.
	Clients *ClientRequests
	// Slow warns of requests that took long. Default: of none.
	Slow SlowRequests
	// Streams see every stream that is served, the first one outermost. Default:
	// none.
	Streams []grpc.StreamServerInterceptor
	// Adjust, if set, has the last word: what a service besides ours needs.
	Adjust func(*h2.Config)
}

// EnsureDefaults fills what is zero.
func (c *GRPCConfig) EnsureDefaults() {
	if c.RequestBytesMax == 0 {
		c.RequestBytesMax = 3 << 19
	}
	if c.ConcurrentStreamsMax == 0 {
		c.ConcurrentStreamsMax = math.MaxUint32
	}
	if c.KeepaliveMinTime == 0 {
		c.KeepaliveMinTime = 5 * time.Second
	}
	if c.KeepaliveInterval == 0 {
		c.KeepaliveInterval = 2 * time.Hour
	}
	if c.KeepaliveTimeout == 0 {
		c.KeepaliveTimeout = 20 * time.Second
	}
	if c.Stats == nil {
		c.Stats = NewRPCStats()
	}
}

// Validate reports every faulty value.
func (c *GRPCConfig) Validate() error {
	var faults []error
	if c.RequestBytesMax < 1 || c.RequestBytesMax > math.MaxInt32-overheadBytes {
		faults = append(faults, fmt.Errorf("listen: RequestBytesMax %d must be in 1..%d", c.RequestBytesMax, math.MaxInt32-overheadBytes))
	}
	if c.Slow.Threshold > 0 && c.Slow.Logger == nil {
		faults = append(faults, errors.New("listen: Slow needs a Logger"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"KeepaliveMinTime", c.KeepaliveMinTime},
		{"KeepaliveInterval", c.KeepaliveInterval},
		{"KeepaliveTimeout", c.KeepaliveTimeout},
	} {
		if d.value < 0 {
			faults = append(faults, fmt.Errorf("listen: %s %v must not be negative", d.name, d.value))
		}
	}
	return errors.Join(faults...)
}

const overheadBytes = 512 << 10

// NewGRPCServer builds a server with the services that register adds, health
// and reflection. The health server says SERVING for "" until told otherwise.
func NewGRPCServer(cfg GRPCConfig, register func(grpc.ServiceRegistrar)) (*h2.Server, *health.Server, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	settings := h2.Config{
		MessageBytesMax:      cfg.RequestBytesMax + overheadBytes,
		ConcurrentStreamsMax: cfg.ConcurrentStreamsMax,
		PingsMinTime:         cfg.KeepaliveMinTime,
		KeepaliveInterval:    cfg.KeepaliveInterval,
		KeepaliveTimeout:     cfg.KeepaliveTimeout,
		Credentials:          cfg.Credentials,
		Unary:                cfg.unary,
		Stream:               cfg.stream,
	}
	if slices.Contains(strings.Split(os.Getenv("GODEBUG"), ","), "http2debug=2") {
		// What every HTTP/2 server in Go then says, and tests for etcd look for.
		settings.TraceHeader = func(f hpack.HeaderField) { log.Printf("http2: decoded hpack field %v", f) }
	}
	if cfg.Adjust != nil {
		cfg.Adjust(&settings)
	}
	server, err := h2.New(settings)
	if err != nil {
		return nil, nil, err
	}
	register(server)
	h := health.NewServer()
	healthpb.RegisterHealthServer(server, h)
	reflection.Register(server)
	cfg.Stats.prepare(server.GetServiceInfo())
	return server, h, nil
}
