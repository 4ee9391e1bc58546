package processors

import (
	"math"
	"runtime/metrics"
	"sync"
	"testing"
)

func TestTotal(t *testing.T) {
	inf := math.Inf(1)
	for name, c := range map[string]struct {
		counts  []uint64
		buckets []float64
		count   uint64
		sum     float64
	}{
		"nothing":                    {[]uint64{0, 0, 0}, []float64{-inf, 0, 1, inf}, 0, 0},
		"the middle of a bucket":     {[]uint64{0, 4, 2, 0}, []float64{-inf, 0, 1, 3, inf}, 6, 4*0.5 + 2*2},
		"below counts as its end":    {[]uint64{5, 0, 0}, []float64{-inf, 0, 1, inf}, 5, 0},
		"above counts as its begin":  {[]uint64{0, 0, 3}, []float64{-inf, 0, 8, inf}, 3, 24},
		"all of them":                {[]uint64{1, 2, 1}, []float64{-inf, 0, 8, inf}, 4, 0 + 2*4 + 8},
		"a bucket without any end":   {[]uint64{7}, []float64{-inf, inf}, 7, 0},
		"an end below that is not 0": {[]uint64{2}, []float64{-inf, 3}, 2, 6},
	} {
		count, sum := total(&metrics.Float64Histogram{Counts: c.counts, Buckets: c.buckets})
		if count != c.count || sum != c.sum {
			t.Errorf("%s: %d samples, sum %v; want %d, %v", name, count, sum, c.count, c.sum)
		}
	}
}

// TestRuntimeTells holds the runtime to what is read from it: samples appear
// when goroutines become ready, and the outer buckets are those that middle
// expects.
func TestRuntimeTells(t *testing.T) {
	var w waits
	before, waitedBefore, err := w.sinceStart()
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range 1000 {
		done.Go(func() {})
	}
	done.Wait()
	after, waitedAfter, err := w.sinceStart()
	if err != nil {
		t.Fatal(err)
	}
	if after <= before || waitedAfter <= waitedBefore {
		t.Fatalf("%d samples of %v before 1000 goroutines, %d of %v after", before, waitedBefore, after, waitedAfter)
	}
	buckets := w.samples[0].Value.Float64Histogram().Buckets
	if !math.IsInf(buckets[0], -1) || buckets[1] != 0 || !math.IsInf(buckets[len(buckets)-1], 1) {
		t.Fatalf("outer buckets from %v to %v and to %v", buckets[0], buckets[1], buckets[len(buckets)-1])
	}
}
