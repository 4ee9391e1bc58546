package h2

import (
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// noBound is a number of streams that no client begins.
const noBound = math.MaxUint32

// Config is what a server is built from.
type Config struct {
	// MessageBytesMax is the largest message that is received. Default 4 MiB.
	MessageBytesMax int
	// ConcurrentStreamsMax bounds the requests in flight of a connection.
	// Default: no bound.
	ConcurrentStreamsMax uint32
	// StreamWindowBytes and ConnWindowBytes are how much a client may send ahead.
	// Default 1 MiB and 8 MiB.
	StreamWindowBytes, ConnWindowBytes uint32
	// PingsMinTime is how often a client may ping; one that pings more often is
	// disconnected. Default 5 min. PingsWithoutStream: also while it has no
	// request in flight.
	PingsMinTime       time.Duration
	PingsWithoutStream bool
	// KeepaliveInterval is the idle time after which the server pings,
	// KeepaliveTimeout how long it waits then. Default 2 h and 20 s.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// Credentials take over every connection; nil: plain text.
	Credentials credentials.TransportCredentials
	// Unary and Stream see every request. Default: the handlers alone do.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
	// TraceHeader, if set, sees every field of every request's headers, secrets
	// included.
	TraceHeader func(hpack.HeaderField)
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	if c.MessageBytesMax == 0 {
		c.MessageBytesMax = 4 << 20
	}
	if c.ConcurrentStreamsMax == 0 {
		c.ConcurrentStreamsMax = noBound
	}
	if c.StreamWindowBytes == 0 {
		c.StreamWindowBytes = 1 << 20
	}
	if c.ConnWindowBytes == 0 {
		c.ConnWindowBytes = 8 << 20
	}
	if c.PingsMinTime == 0 {
		c.PingsMinTime = 5 * time.Minute
	}
	if c.KeepaliveInterval == 0 {
		c.KeepaliveInterval = 2 * time.Hour
	}
	if c.KeepaliveTimeout == 0 {
		c.KeepaliveTimeout = 20 * time.Second
	}
}

// Validate reports every faulty value.
func (c *Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("h2: "+format, args...))
		}
	}
	check(c.MessageBytesMax > 0 && c.MessageBytesMax <= math.MaxInt32, "MessageBytesMax %d must be in 1..%d", c.MessageBytesMax, math.MaxInt32)
	for _, w := range []uint32{c.StreamWindowBytes, c.ConnWindowBytes} {
		check(w >= windowBytesDefault && w <= windowBytesLimit, "a window of %d bytes must be in %d..%d", w, windowBytesDefault, windowBytesLimit)
	}
	check(c.PingsMinTime > 0 && c.KeepaliveInterval > 0 && c.KeepaliveTimeout > 0, "times of keepalive must be positive")
	return errors.Join(faults...)
}

// Server serves gRPC. Services are registered before Serve.
type Server struct {
	cfg     Config
	methods map[string]*method
	info    map[string]grpc.ServiceInfo
	workers workers
	buffers bufferPool
	readers sync.WaitGroup

	mu struct {
		sync.Mutex
		listeners map[net.Listener]struct{}
		shaking   map[net.Conn]struct{} // hands: not connections yet
		conns     map[*conn]struct{}
		draining  bool // no connection is taken, those that are there end their requests
	}
}

// New returns a server without services.
func New(cfg Config) (*Server, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, methods: map[string]*method{}, info: map[string]grpc.ServiceInfo{}}
	s.mu.listeners = map[net.Listener]struct{}{}
	s.mu.shaking = map[net.Conn]struct{}{}
	s.mu.conns = map[*conn]struct{}{}
	return s, nil
}

// method is what a path leads to; one of unary, stream and refuse is set.
type method struct {
	path   string
	impl   any
	unary  *grpc.MethodDesc
	stream *grpc.StreamDesc
	refuse *refusal
}

// RegisterService implements grpc.ServiceRegistrar. It panics if impl lacks a
// method of the service.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if want := reflect.TypeOf(desc.HandlerType).Elem(); !reflect.TypeOf(impl).Implements(want) {
		panic(fmt.Sprintf("h2: %T does not implement %v", impl, want))
	}
	info := grpc.ServiceInfo{Metadata: desc.Metadata}
	for i := range desc.Methods {
		m := &method{path: "/" + desc.ServiceName + "/" + desc.Methods[i].MethodName, impl: impl, unary: &desc.Methods[i]}
		s.methods[m.path] = m
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.unary.MethodName})
	}
	for i := range desc.Streams {
		d := &desc.Streams[i]
		m := &method{path: "/" + desc.ServiceName + "/" + d.StreamName, impl: impl, stream: d}
		s.methods[m.path] = m
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: d.StreamName, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams})
	}
	s.info[desc.ServiceName] = info
}

// GetServiceInfo says what is served, for reflection and counters.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.info }

// Serve accepts connections until the listener fails or the server stops, which
// is no error. After a stop it returns grpc.ErrServerStopped.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.mu.draining {
		s.mu.Unlock()
		return errors.Join(grpc.ErrServerStopped, l.Close())
	}
	s.mu.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		raw, err := l.Accept()
		if err == nil {
			s.take(raw)
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.listeners, l)
		if s.mu.draining {
			return nil
		}
		return errors.Join(err, l.Close())
	}
}

// take serves a connection in a goroutine of its own.
func (s *Server) take(raw net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.draining {
		_ = raw.Close() // it came too late
		return
	}
	s.mu.shaking[raw] = struct{}{}
	s.readers.Go(func() {
		c, err := s.shake(raw)
		if !s.admit(raw, c, err) {
			_ = raw.Close() // whoever called did not speak our protocol, or came too late
			return
		}
		c.serve()
		s.forget(c)
	})
}

// greetTime is how long the handshake of TLS and that of HTTP/2 may take.
const greetTime = 20 * time.Second

func (s *Server) shake(raw net.Conn) (*conn, error) {
	if err := raw.SetDeadline(time.Now().Add(greetTime)); err != nil {
		return nil, err
	}
	return newConn(s, raw)
}

// admit adds a connection to those that Stop ends, instead of the raw one.
func (s *Server) admit(raw net.Conn, c *conn, fault error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.shaking, raw)
	if s.mu.draining || fault != nil {
		return false
	}
	s.mu.conns[c] = struct{}{}
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
}

// close refuses connections from now on and returns those that are there.
func (s *Server) close() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.draining = true
	for l := range s.mu.listeners {
		_ = l.Close() // Serve sees it
	}
	for raw := range s.mu.shaking {
		_ = raw.Close() // it has asked for nothing yet
	}
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

// Stop ends all connections and waits for the handlers, whose contexts end.
func (s *Server) Stop() {
	for _, c := range s.close() {
		c.abort()
	}
	s.readers.Wait()
	s.workers.wait()
}

// GracefulStop refuses new requests and waits for those in flight. Stop may be
// called meanwhile, to wait no longer.
func (s *Server) GracefulStop() {
	for _, c := range s.close() {
		c.startDrain()
	}
	s.readers.Wait()
	s.workers.wait()
}
