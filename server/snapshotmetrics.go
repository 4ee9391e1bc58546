package server

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"raftkv/rpc/peer"
)

// snapshotFlow exports the transfers of snapshots under etcd's names: those that
// run, and how the others ended, for every member that is dialled.
type snapshotFlow struct {
	transport *peer.Transport

	sending, sent, sendFailures, receiving *prometheus.Desc
}

func newSnapshotFlow(transport *peer.Transport) *snapshotFlow {
	desc := func(name, help, label string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{label}, nil)
	}
	return &snapshotFlow{
		transport:    transport,
		sending:      desc("etcd_network_snapshot_send_inflights_total", "Snapshots on their way to a member.", "To"),
		sent:         desc("etcd_network_snapshot_send_success", "Snapshots that a member received from this one.", "To"),
		sendFailures: desc("etcd_network_snapshot_send_failures", "Attempts to send a snapshot to a member that failed.", "To"),
		receiving:    desc("etcd_network_snapshot_receive_inflights_total", "Snapshots on their way from a member.", "From"),
	}
}

// Describe implements prometheus.Collector.
func (m *snapshotFlow) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *snapshotFlow) Collect(ch chan<- prometheus.Metric) {
	out, in := map[uint64]float64{}, map[uint64]float64{}
	for _, p := range m.transport.Snapshots() {
		if p.Sending {
			out[p.Peer]++
		} else {
			in[p.Peer]++
		}
	}
	for _, p := range m.transport.Stats().Peers {
		id := fmt.Sprintf("%x", p.ID)
		ch <- prometheus.MustNewConstMetric(m.sending, prometheus.GaugeValue, out[p.ID], id)
		ch <- prometheus.MustNewConstMetric(m.receiving, prometheus.GaugeValue, in[p.ID], id)
		ch <- prometheus.MustNewConstMetric(m.sent, prometheus.CounterValue, float64(p.SnapshotsSent), id)
		ch <- prometheus.MustNewConstMetric(m.sendFailures, prometheus.CounterValue, float64(p.SnapshotsFailed), id)
	}
}
