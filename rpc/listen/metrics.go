package listen

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what happens to connections before a server has them. It is a
// prometheus.Collector.
type Metrics struct {
	pending  atomic.Int64
	refused  atomic.Uint64
	timedOut atomic.Uint64
	// rejected counts by endpoint: those of clients, then those of peers.
	rejectedClients, rejectedPeers atomic.Uint64

	pendingDesc, refusedDesc, timedOutDesc, rejectedDesc *prometheus.Desc
}

// NewMetrics returns counters at zero.
func NewMetrics() *Metrics {
	return &Metrics{
		pendingDesc: prometheus.NewDesc("raftkv_listen_pending_connections",
			"Connections that have not shown their protocol yet.", nil, nil),
		refusedDesc: prometheus.NewDesc("raftkv_listen_refused_connections_total",
			"Connections closed because too many were pending.", nil, nil),
		timedOutDesc: prometheus.NewDesc("raftkv_listen_timed_out_connections_total",
			"Connections closed because they did not show their protocol in time.", nil, nil),
		rejectedDesc: prometheus.NewDesc("raftkv_listen_rejected_connections_total",
			"Connections closed before a server had them, whatever the reason: no or wrong certificate, plain text where TLS is served, no protocol in time, too many pending.",
			[]string{"endpoint"}, nil),
	}
}

func (m *Metrics) reject(endpoint string) {
	if endpoint == "peer" {
		m.rejectedPeers.Add(1)
		return
	}
	m.rejectedClients.Add(1)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.pendingDesc
	ch <- m.refusedDesc
	ch <- m.timedOutDesc
	ch <- m.rejectedDesc
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(m.pendingDesc, prometheus.GaugeValue, float64(m.pending.Load()))
	ch <- prometheus.MustNewConstMetric(m.refusedDesc, prometheus.CounterValue, float64(m.refused.Load()))
	ch <- prometheus.MustNewConstMetric(m.timedOutDesc, prometheus.CounterValue, float64(m.timedOut.Load()))
	ch <- prometheus.MustNewConstMetric(m.rejectedDesc, prometheus.CounterValue, float64(m.rejectedClients.Load()), "client")
	ch <- prometheus.MustNewConstMetric(m.rejectedDesc, prometheus.CounterValue, float64(m.rejectedPeers.Load()), "peer")
}
