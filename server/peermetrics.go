package server

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"raftkv/rpc/peer"
)

// peerMetrics exports the peer transport's counters and queues, by member and
// lane.
type peerMetrics struct {
	stats func() peer.Stats

	received, refused, sent, dropped, queued, connected, snapshots *prometheus.Desc
}

func newPeerMetrics(stats func() peer.Stats) *peerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &peerMetrics{
		stats:     stats,
		received:  desc("raftkv_peer_received_total", "Messages and batches received from other members."),
		refused:   desc("raftkv_peer_refused_total", "Handshakes of others that were refused."),
		sent:      desc("etcd_network_peer_sent_bytes_total", "Payload sent, by member and lane.", "To", "lane"),
		dropped:   desc("raftkv_peer_dropped_total", "Messages dropped because a queue was full or a connection broke.", "To", "lane"),
		queued:    desc("raftkv_peer_queued_bytes", "Payload that waits to be sent.", "To", "lane"),
		connected: desc("raftkv_peer_connected", "1 if the lane works.", "To", "lane"),
		snapshots: desc("raftkv_peer_snapshots_total", "Snapshots streamed, by member and result.", "To", "result"),
	}
}

// Describe implements prometheus.Collector.
func (m *peerMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *peerMetrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := m.stats()
	counter(m.received, s.Received)
	counter(m.refused, s.Refused)
	for _, p := range s.Peers {
		id := fmt.Sprintf("%x", p.ID)
		m.lane(ch, id, "urgent", p.Urgent)
		m.lane(ch, id, "bulk", p.Bulk)
		counter(m.snapshots, p.SnapshotsSent, id, "sent")
		counter(m.snapshots, p.SnapshotsFailed, id, "failed")
	}
}

func (m *peerMetrics) lane(ch chan<- prometheus.Metric, id, lane string, s peer.LaneStats) {
	connected := 0.0
	if s.Connected {
		connected = 1
	}
	ch <- prometheus.MustNewConstMetric(m.sent, prometheus.CounterValue, float64(s.SentBytes), id, lane)
	ch <- prometheus.MustNewConstMetric(m.dropped, prometheus.CounterValue, float64(s.Dropped), id, lane)
	ch <- prometheus.MustNewConstMetric(m.queued, prometheus.GaugeValue, float64(s.QueuedBytes), id, lane)
	ch <- prometheus.MustNewConstMetric(m.connected, prometheus.GaugeValue, connected, id, lane)
}
