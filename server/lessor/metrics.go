package lessor

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// ttlBuckets are those of etcd: 1 s to 3 months.
const ttlBuckets = 24

// ttlHistogram counts the times to live that were granted.
type ttlHistogram struct {
	mu      sync.Mutex
	counts  [ttlBuckets]uint64 // of TTLs up to 1<<i seconds and above the one before
	count   uint64
	seconds float64
}

func (h *ttlHistogram) observe(seconds int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.seconds += float64(seconds)
	for i := range h.counts {
		if seconds <= 1<<i {
			h.counts[i]++
			return
		}
	}
}

// Collect implements prometheus.Collector.
func (l *Lessor) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	c, d := &l.counters, newDescriptions()
	counter(d.granted, c.granted.Load())
	counter(d.revoked, c.revoked.Load())
	counter(d.renewed, c.renewed.Load())
	counter(d.expired, c.expired.Load())
	counter(d.recorded, c.recorded.Load())
	l.mu.Lock()
	held := 0
	if l.mu.book != nil {
		held = l.mu.book.Len()
	}
	l.mu.Unlock()
	out <- prometheus.MustNewConstMetric(d.held, prometheus.GaugeValue, float64(held))
	h := &c.grantedTTLs
	h.mu.Lock()
	defer h.mu.Unlock()
	buckets, total := make(map[float64]uint64, ttlBuckets), uint64(0)
	for i, n := range h.counts {
		total += n
		buckets[float64(int64(1)<<i)] = total
	}
	out <- prometheus.MustNewConstHistogram(d.ttls, h.count, h.seconds, buckets)
}

// Describe implements prometheus.Collector.
func (l *Lessor) Describe(out chan<- *prometheus.Desc) {
	d := newDescriptions()
	for _, desc := range []*prometheus.Desc{d.granted, d.revoked, d.renewed, d.expired, d.recorded, d.held, d.ttls} {
		out <- desc
	}
}

type descriptions struct{ granted, revoked, renewed, expired, recorded, held, ttls *prometheus.Desc }

// newDescriptions names the metrics as etcd does where it has them.
func newDescriptions() descriptions {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return descriptions{
		granted:  desc("etcd_debugging_lease_granted_total", "Leases granted."),
		revoked:  desc("etcd_debugging_lease_revoked_total", "Leases revoked, by clients or because they expired."),
		renewed:  desc("etcd_debugging_lease_renewed_total", "Leases renewed, as the leader sees it."),
		expired:  desc("etcd_debugging_server_lease_expired_total", "Leases that this member, as leader, revoked because they expired."),
		ttls:     desc("etcd_debugging_lease_ttl_total", "Times to live of granted leases in seconds."),
		recorded: desc("raftkv_lease_recorded_total", "Times that what is left of a lease was recorded."),
		held:     desc("raftkv_lease_held", "Leases that this member, as leader, looks after."),
	}
}
