package listen

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RPCStats counts requests under the metric names of go-grpc-prometheus, which
// dashboards for etcd know. It is a prometheus.Collector.
//
// It exists because the usual interceptors look up labelled counters several
// times a request. Here a request costs a look-up in a map that nobody writes
// and four atomic additions. Several servers may share one RPCStats.
type RPCStats struct {
	// methods maps full method names; prepare replaces the map under mu.
	methods atomic.Pointer[map[string]*methodStats]
	mu      sync.Mutex

	started, handled, received, sent *prometheus.Desc
	// seconds is nil unless durations are wanted: looking at the clock twice a
	// request is not free.
	seconds *prometheus.HistogramVec
}

type methodStats struct {
	kind, service, method   string
	started, received, sent atomic.Uint64
	handled                 [codes.Unauthenticated + 1]atomic.Uint64
	seconds                 prometheus.Observer // nil: not wanted
}

// NewRPCStats returns counters at zero.
func NewRPCStats() *RPCStats {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	withCode := []string{"grpc_type", "grpc_service", "grpc_method", "grpc_code"}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	s := &RPCStats{
		started:  desc("grpc_server_started_total", "RPCs started on the server.", labels...),
		handled:  desc("grpc_server_handled_total", "RPCs completed on the server, by status code.", withCode...),
		received: desc("grpc_server_msg_received_total", "RPC messages received on the server.", labels...),
		sent:     desc("grpc_server_msg_sent_total", "RPC messages sent by the server.", labels...),
	}
	s.methods.Store(&map[string]*methodStats{})
	return s
}

// ObserveDurations adds a histogram of how long requests take. It must be called
// before the first server is built.
func (s *RPCStats) ObserveDurations() {
	s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "grpc_server_handling_seconds", Help: "Time the server took to complete RPCs.",
	}, []string{"grpc_type", "grpc_service", "grpc_method"})
}

// prepare adds the counters of a server's methods. It must run before that
// server serves.
func (s *RPCStats) prepare(services map[string]grpc.ServiceInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	methods := maps.Clone(*s.methods.Load())
	for service, info := range services {
		for _, m := range info.Methods {
			name := "/" + service + "/" + m.Name
			if methods[name] == nil {
				methods[name] = s.newMethod(methodKind(m.IsClientStream, m.IsServerStream), service, m.Name)
			}
		}
	}
	s.methods.Store(&methods)
}

func (s *RPCStats) newMethod(kind, service, method string) *methodStats {
	m := &methodStats{kind: kind, service: service, method: method}
	if s.seconds != nil {
		m.seconds = s.seconds.WithLabelValues(kind, service, method)
	}
	return m
}

func methodKind(client, server bool) string {
	switch {
	case client && server:
		return "bidi_stream"
	case client:
		return "client_stream"
	case server:
		return "server_stream"
	default:
		return "unary"
	}
}

// of returns the counters of a method that prepare has seen.
func (s *RPCStats) of(fullMethod string) *methodStats { return (*s.methods.Load())[fullMethod] }

// code is the status code the client gets for err.
func code(err error) codes.Code {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	if c := st.Code(); c <= codes.Unauthenticated {
		return c
	}
	return codes.Unknown
}

type countedStream struct {
	grpc.ServerStream
	stats *methodStats
}

func (c countedStream) SendMsg(m any) error {
	err := c.ServerStream.SendMsg(m)
	if err == nil {
		c.stats.sent.Add(1)
	}
	return err
}

func (c countedStream) RecvMsg(m any) error {
	err := c.ServerStream.RecvMsg(m)
	if err == nil {
		c.stats.received.Add(1)
	}
	return err
}

// Describe implements prometheus.Collector.
func (s *RPCStats) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.started
	ch <- s.handled
	ch <- s.received
	ch <- s.sent
	if s.seconds != nil {
		s.seconds.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *RPCStats) Collect(ch chan<- prometheus.Metric) {
	if s.seconds != nil {
		s.seconds.Collect(ch)
	}
	emit := func(d *prometheus.Desc, n *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	for _, m := range *s.methods.Load() {
		emit(s.started, &m.started, m.kind, m.service, m.method)
		emit(s.received, &m.received, m.kind, m.service, m.method)
		emit(s.sent, &m.sent, m.kind, m.service, m.method)
		for c := range m.handled {
			// A series for every code that never happened would be a thousand.
			if codes.Code(c) != codes.OK && m.handled[c].Load() == 0 {
				continue
			}
			emit(s.handled, &m.handled[c], m.kind, m.service, m.method, codes.Code(c).String())
		}
	}
}
