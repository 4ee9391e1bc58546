package load

import (
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what one run measured. Field names carry their units, because it
// is written as JSON and read long afterwards.
type Result struct {
	Clients       int     `json:"clients"`
	RatePerSecond float64 `json:"target_rate_per_second,omitempty"` // 0: closed loop
	WindowSeconds float64 `json:"window_seconds"`
	// Completed counts successful answers within the window.
	Completed           int64   `json:"completed"`
	ThroughputPerSecond float64 `json:"throughput_per_second"`
	// Latency is that of all kinds together.
	Latency Latency `json:"latency"`
	// Kinds is present if the workload has several kinds of operations.
	Kinds        []KindResult `json:"kinds,omitempty"`
	Errors       []ErrorCount `json:"errors,omitempty"`
	WarmupErrors []ErrorCount `json:"warmup_errors,omitempty"`
	// Unsent counts operations of an open loop that were due within the window
	// but never sent, for want of a free client.
	Unsent int64 `json:"unsent,omitempty"`
}

// KindResult is the share of one kind of operation.
type KindResult struct {
	Kind                string  `json:"kind"`
	Completed           int64   `json:"completed"`
	ThroughputPerSecond float64 `json:"throughput_per_second"`
	Latency             Latency `json:"latency"`
}

// Latency summarises a histogram, in microseconds.
type Latency struct {
	Count  int64   `json:"count"`
	MeanUS float64 `json:"mean_us"`
	P50US  int64   `json:"p50_us"`
	P90US  int64   `json:"p90_us"`
	P99US  int64   `json:"p99_us"`
	P999US int64   `json:"p99_9_us"`
	MaxUS  int64   `json:"max_us"`
}

// ErrorCount is the number of failed operations of one class and the text of
// one of them.
type ErrorCount struct {
	Class   string `json:"class"`
	Count   int64  `json:"count"`
	Example string `json:"example"`
}

// ErrorTotal is the number of failed operations, those of the warm-up
// included.
func (r Result) ErrorTotal() int64 {
	var n int64
	for _, list := range [][]ErrorCount{r.Errors, r.WarmupErrors} {
		for _, e := range list {
			n += e.Count
		}
	}
	return n
}

func newResult(cfg Config, kinds []string, t *totals) Result {
	seconds := cfg.Duration.Seconds()
	res := Result{
		Clients:       cfg.Clients,
		RatePerSecond: cfg.Rate,
		WindowSeconds: seconds,
		Latency:       summarize(t.all),
		Errors:        t.errors.sorted(),
		WarmupErrors:  t.warmupErrors.sorted(),
		Unsent:        t.unsent,
	}
	for k, name := range kinds {
		res.Completed += t.completed[k]
		if len(kinds) > 1 {
			res.Kinds = append(res.Kinds, KindResult{
				Kind:                name,
				Completed:           t.completed[k],
				ThroughputPerSecond: float64(t.completed[k]) / seconds,
				Latency:             summarize(t.latency[k]),
			})
		}
	}
	res.ThroughputPerSecond = float64(res.Completed) / seconds
	return res
}

func summarize(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	return Latency{
		Count:  h.TotalCount(),
		MeanUS: h.Mean(),
		P50US:  h.ValueAtPercentile(50),
		P90US:  h.ValueAtPercentile(90),
		P99US:  h.ValueAtPercentile(99),
		P999US: h.ValueAtPercentile(99.9),
		MaxUS:  h.Max(),
	}
}

// errorCounts counts failures by class.
type errorCounts map[string]ErrorCount

func (c errorCounts) add(class string, err error) {
	e, seen := c[class]
	if !seen {
		e = ErrorCount{Class: class, Example: oneLine(err.Error())}
	}
	e.Count++
	c[class] = e
}

func (c errorCounts) merge(from errorCounts) {
	for class, e := range from {
		have, seen := c[class]
		if !seen {
			have = ErrorCount{Class: class, Example: e.Example}
		}
		have.Count += e.Count
		c[class] = have
	}
}

// sorted lists the most frequent class first.
func (c errorCounts) sorted() []ErrorCount {
	var list []ErrorCount
	for _, e := range c {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b ErrorCount) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(a.Class, b.Class)
	})
	return list
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
