package load

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Sharding must not show: the same operations recorded by one client and by
// many give the same totals.
func TestShardsMergeToWhatOneRecorderSees(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	start := time.Unix(1000, 0)
	win := window{start: start, end: start.Add(time.Minute)}
	kinds := []string{"put", "get"}
	const clients = 3*shardCount + 1
	single := newRecorder(win, kinds, 1, time.Hour)
	sharded := newRecorder(win, kinds, clients, time.Hour)
	failure := errors.New("no")

	for range 20_000 {
		client, kind := rng.IntN(clients), rng.IntN(2)
		intended := start.Add(time.Duration(rng.Int64N(int64(80*time.Second))) - 10*time.Second)
		// Log-uniform from 1 us to about 20 minutes.
		latency := time.Duration(float64(time.Microsecond) * math.Pow(10, rng.Float64()*9))
		for _, to := range []struct {
			r      *recorder
			client int
		}{{single, 0}, {sharded, client}} {
			switch {
			case latency%10 == 0:
				to.r.failed(to.client, intended, []string{"a", "b"}[kind], failure)
			case latency%10 == 1:
				to.r.unsent(to.client, intended)
			default:
				to.r.succeeded(to.client, kind, intended, intended.Add(latency))
			}
		}
	}

	want, err := single.totals()
	if err != nil {
		t.Fatal(err)
	}
	got, err := sharded.totals()
	if err != nil {
		t.Fatal(err)
	}
	if want.all.TotalCount() < 1000 || want.unsent == 0 || len(want.errors) != 2 || len(want.warmupErrors) != 2 {
		t.Fatalf("the run exercised too little: %+v", want)
	}
	if !got.all.Equals(want.all) {
		t.Error("merged histogram differs")
	}
	for k := range kinds {
		if !got.latency[k].Equals(want.latency[k]) || got.completed[k] != want.completed[k] {
			t.Errorf("%s differs", kinds[k])
		}
	}
	if got.unsent != want.unsent {
		t.Errorf("unsent %d, want %d", got.unsent, want.unsent)
	}
	for class, e := range want.errors {
		if got.errors[class] != e {
			t.Errorf("errors[%s] = %+v, want %+v", class, got.errors[class], e)
		}
	}
}

func TestLatencyBeyondTheHistogramIsAFault(t *testing.T) {
	start := time.Unix(1000, 0)
	r := newRecorder(window{start, start.Add(time.Minute)}, []string{"op"}, 1, time.Second)
	r.succeeded(0, 0, start, start.Add(time.Hour))
	if _, err := r.totals(); err == nil {
		t.Error("a value that does not fit was dropped silently")
	}
}

func TestScheduleDoesNotDrift(t *testing.T) {
	start := time.Unix(1000, 0)
	s := &schedule{start: start, ratePerSecond: 3}
	for n := range int64(10_000) {
		want := start.Add(time.Duration(n) * time.Second / 3)
		if diff := s.next().Sub(want); diff.Abs() > time.Nanosecond {
			t.Fatalf("operation %d is %v off", n, diff)
		}
	}
	s = &schedule{start: start, ratePerSecond: 7000}
	if due := s.due(7000 * 3600); !due.Equal(start.Add(time.Hour)) {
		t.Errorf("after an hour's operations the schedule is at %v", due.Sub(start))
	}
	s = &schedule{start: start, ratePerSecond: 1e-300}
	if due := s.due(1); due.Before(start.Add(2 * maxRunLength)) {
		t.Errorf("a tiny rate overflowed to %v", due.Sub(start))
	}
}
