package load

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// shardCount balances lock contention (two cores need few) against memory:
// a histogram is about 200 KiB.
const shardCount = 8

// histogramDigits is the number of significant decimal digits kept: an error
// of at most 0.1 %.
const histogramDigits = 3

// recorder collects what the clients see. Latencies are in microseconds.
type recorder struct {
	window window
	shards []*shard
	kinds  []string
}

// window is the measured interval [start, end).
type window struct{ start, end time.Time }

func (w window) contains(t time.Time) bool {
	return !t.Before(w.start) && t.Before(w.end)
}

type shard struct {
	mu struct {
		sync.Mutex
		latency      []*hdrhistogram.Histogram // by kind
		completed    []int64                   // by kind; successes answered within the window
		errors       errorCounts
		warmupErrors errorCounts
		unsent       int64
		fault        error // the first value a histogram refused
	}
}

// newRecorder returns a recorder with one shard per client up to shardCount.
func newRecorder(w window, kinds []string, clients int, highest time.Duration) *recorder {
	r := &recorder{window: w, kinds: kinds}
	for range min(clients, shardCount) {
		s := &shard{}
		for range kinds {
			s.mu.latency = append(s.mu.latency, newHistogram(highest))
		}
		s.mu.completed = make([]int64, len(kinds))
		s.mu.errors = errorCounts{}
		s.mu.warmupErrors = errorCounts{}
		r.shards = append(r.shards, s)
	}
	return r
}

func newHistogram(highest time.Duration) *hdrhistogram.Histogram {
	return hdrhistogram.New(1, max(2, highest.Microseconds()), histogramDigits)
}

func (r *recorder) shardOf(client int) *shard { return r.shards[client%len(r.shards)] }

// succeeded counts an operation that was due at intended and answered at done.
func (r *recorder) succeeded(client, kind int, intended, done time.Time) {
	s := r.shardOf(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.window.contains(done) {
		s.mu.completed[kind]++
	}
	if r.window.contains(intended) {
		s.recordLocked(kind, done.Sub(intended))
	}
}

// failed counts a failed operation under its class.
func (r *recorder) failed(client int, intended time.Time, class string, err error) {
	s := r.shardOf(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.window.contains(intended) {
		s.mu.errors.add(class, err)
	} else {
		s.mu.warmupErrors.add(class, err)
	}
}

// unsent counts an operation that was due but never sent. Its kind is not
// known, so it is charged to the first.
func (r *recorder) unsent(client int, intended time.Time) {
	if !r.window.contains(intended) {
		return
	}
	s := r.shardOf(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.unsent++
	s.recordLocked(0, r.window.end.Sub(intended))
}

func (s *shard) recordLocked(kind int, latency time.Duration) {
	// Rounded up: no operation takes 0 us.
	us := (latency + time.Microsecond - 1).Microseconds()
	if err := s.mu.latency[kind].RecordValue(max(1, us)); err != nil && s.mu.fault == nil {
		s.mu.fault = fmt.Errorf("recording a latency of %v: %w", latency, err)
	}
}

// totals merges the shards. No client may be running any more.
func (r *recorder) totals() (*totals, error) {
	t := &totals{
		completed:    make([]int64, len(r.kinds)),
		errors:       errorCounts{},
		warmupErrors: errorCounts{},
	}
	for _, s := range r.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.fault != nil {
			return nil, s.mu.fault
		}
		for k, h := range s.mu.latency {
			if len(t.latency) == k {
				t.latency = append(t.latency, h.Clone())
			} else if err := mergeInto(t.latency[k], h); err != nil {
				return nil, err
			}
			t.completed[k] += s.mu.completed[k]
		}
		t.errors.merge(s.mu.errors)
		t.warmupErrors.merge(s.mu.warmupErrors)
		t.unsent += s.mu.unsent
	}
	t.all = t.latency[0].Clone()
	for _, h := range t.latency[1:] {
		if err := mergeInto(t.all, h); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// mergeInto adds from to into; a value that does not fit is an error.
func mergeInto(into, from *hdrhistogram.Histogram) error {
	if dropped := into.Merge(from); dropped != 0 {
		return fmt.Errorf("merging histograms dropped %d values", dropped)
	}
	return nil
}

// totals is what all shards saw together.
type totals struct {
	latency              []*hdrhistogram.Histogram // by kind
	all                  *hdrhistogram.Histogram
	completed            []int64 // by kind
	errors, warmupErrors errorCounts
	unsent               int64
}
