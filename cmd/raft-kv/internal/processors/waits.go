package processors

import (
	"errors"
	"math"
	"runtime/metrics"
	"time"
)

// waits reads how long goroutines that were ready waited for a processor.
type waits struct {
	// samples is read again and again, so that the runtime fills the histogram
	// that is there instead of allocating one.
	samples [1]metrics.Sample
}

const waitsMetric = "/sched/latencies:seconds"

var errNoWaits = errors.New("the runtime does not tell how long goroutines wait (" + waitsMetric + ")")

// sinceStart returns the number of samples since the process began, and their sum.
func (w *waits) sinceStart() (uint64, time.Duration, error) {
	w.samples[0].Name = waitsMetric
	metrics.Read(w.samples[:])
	if w.samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0, 0, errNoWaits
	}
	count, seconds := total(w.samples[0].Value.Float64Histogram())
	return count, time.Duration(seconds * float64(time.Second)), nil
}

// total takes every sample for the middle of its bucket; those are at most a
// quarter wider than their beginning.
func total(h *metrics.Float64Histogram) (count uint64, sum float64) {
	for i, n := range h.Counts {
		if n > 0 {
			count += n
			sum += float64(n) * middle(h.Buckets[i], h.Buckets[i+1])
		}
	}
	return count, sum
}

// middle is that of a bucket. The outer buckets reach to infinity and are taken
// for their finite end: the lower one holds waits that the clock made negative,
// so it counts as zero.
func middle(from, to float64) float64 {
	switch {
	case math.IsInf(from, -1) && math.IsInf(to, 1):
		return 0
	case math.IsInf(from, -1):
		return to
	case math.IsInf(to, 1):
		return from
	}
	return from + (to-from)/2
}
