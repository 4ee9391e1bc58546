package kvstream

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/statemachine"
)

// Metrics counts what becomes of the frames of this member's clients. It is a
// prometheus.Collector.
type Metrics struct {
	applied, recorded, read prometheus.Counter
	refused                 *prometheus.CounterVec
	bytes                   prometheus.Histogram
	all                     []prometheus.Collector
}

func newMetrics() *Metrics {
	answered := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "raftkv_frames_answered_total",
		Help: "Frames of the native API that were answered: their writes were applied, were applied before and answered from the session's record, or there were only reads.",
	}, []string{"how"})
	m := &Metrics{
		applied: answered.WithLabelValues("applied"), recorded: answered.WithLabelValues("recorded"), read: answered.WithLabelValues("read"),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "raftkv_frames_refused_total", Help: "Frames of the native API that were refused as a whole, or failed.",
		}, []string{"reason"}),
		bytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "raftkv_frame_write_bytes", Help: "Size of the writes of a frame that has any.",
			Buckets: prometheus.ExponentialBuckets(64, 4, 8),
		}),
	}
	m.all = []prometheus.Collector{answered, m.refused, m.bytes}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(ch)
	}
}

// ended counts a frame by its end: why it was refused, if it was.
func (m *Metrics) ended(b *begun) {
	switch {
	case b.err != nil:
		m.refused.WithLabelValues(b.reason()).Inc()
	case b.recorded:
		m.recorded.Inc()
	case b.writes != nil:
		m.applied.Inc()
	default:
		m.read.Inc()
	}
}

// reason is one of a few words.
func (b *begun) reason() string {
	for _, r := range []struct {
		err  error
		name string
	}{
		{statemachine.ErrSequenceGap, "gap"}, {statemachine.ErrSequencePast, "past"},
		{statemachine.ErrSessionUnknown, "session unknown"}, {statemachine.ErrSessionForeign, "session of another user"},
		{statemachine.ErrResultNotKept, "result not kept"},
	} {
		if errors.Is(b.refusal, r.err) {
			return r.name
		}
	}
	switch status.Code(b.err) {
	case codes.InvalidArgument:
		return "malformed or too large"
	case codes.ResourceExhausted:
		return "busy"
	case codes.Unavailable, codes.DeadlineExceeded:
		return "unavailable or timed out"
	case codes.Canceled:
		return "cancelled"
	}
	return "other"
}
