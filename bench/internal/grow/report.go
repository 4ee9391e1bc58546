package grow

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
)

// Report is everything that was found, raw figures included.
type Report struct {
	Began          time.Time      `json:"began"`
	Machine        machine.Facts  `json:"machine"`
	Disk           machine.Disk   `json:"disk"`
	Binary         machine.Binary `json:"binary"`
	Nodes          int            `json:"nodes"`
	WindowSeconds  float64        `json:"window_seconds"`
	WarmupSeconds  float64        `json:"warmup_seconds"`
	ValueSizeBytes int            `json:"value_size_bytes"`
	Seed           uint64         `json:"seed"`
	Steps          []Step         `json:"steps"`
	Growth         []Growth       `json:"growth"`
	// Incomplete says why steps are missing; empty if none is.
	Incomplete string `json:"incomplete,omitempty"`
}

// NewReport judges what Run returned.
func NewReport(cfg Config, began time.Time, facts machine.Facts, disk machine.Disk, steps []Step, runErr error) Report {
	r := Report{
		Began: began.UTC(), Machine: facts, Disk: disk, Binary: cfg.Binary, Nodes: cfg.Nodes,
		WindowSeconds: cfg.Duration.Seconds(), WarmupSeconds: cfg.Warmup.Seconds(),
		ValueSizeBytes: cfg.ValueSizeBytes, Seed: cfg.Seed, Steps: steps, Growth: judge(steps),
	}
	if runErr != nil {
		// Where the directory was means nothing where a report is read.
		r.Incomplete = strings.ReplaceAll(runErr.Error(), cfg.Dir, "DIR")
	}
	return r
}

// WriteJSON writes the report with all raw figures.
func (r Report) WriteJSON(out io.Writer) error {
	return measure.WriteJSON(out, r)
}

// WriteText renders the report for a person.
func (r Report) WriteText(out io.Writer) error {
	w := bufio.NewWriter(out)
	m := r.Machine
	fmt.Fprintf(w, "%s alone, %d nodes, %s\n", r.Binary.Program, r.Nodes, r.Began.Format(time.RFC3339))
	fmt.Fprintf(w, "machine  %s\n", m)
	fmt.Fprintf(w, "disk     %s, one fsync p50 %s, p99 %s\n", r.Disk.FileSystem, measure.Micros(r.Disk.SyncP50US), measure.Micros(r.Disk.SyncP99US))
	fmt.Fprintf(w, "code     commit %s, %s\n", m.Commit, r.Binary.GoVersion)
	fmt.Fprintf(w, "load     %d callers of the native API on %d sessions, %.4gs a point after %.4gs of warm-up, keys of 16 bytes, values of %d, seed %d\n",
		clients, sessions, r.WindowSeconds, r.WarmupSeconds, r.ValueSizeBytes, r.Seed)
	fmt.Fprintf(w, "CPU, memory and disk are those of all server processes together; a restart counts from the start of all until a write.\n\n")
	r.writeSteps(w)
	for _, g := range r.Growth {
		fmt.Fprintf(w, "%s\n", g)
	}
	for _, s := range r.Steps {
		for _, fault := range s.faults() {
			fmt.Fprintf(w, "  ! %d keys: %s\n", s.Keys, fault)
		}
		if s.Unsettled {
			fmt.Fprintf(w, "  ~ %d keys: the members still worked on what they had been filled with\n", s.Keys)
		}
		if o := s.busiest(); o > quietCores {
			fmt.Fprintf(w, "  ~ not a quiet machine at %d keys: others used up to %.2f cores\n", s.Keys, o)
		}
	}
	if r.Incomplete != "" {
		fmt.Fprintf(w, "\nINCOMPLETE: %s\n", r.Incomplete)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r Report) writeSteps(w io.Writer) {
	const heads, cells = "%10s  %9s  %8s  %8s  %10s  %9s  %8s  %10s  %9s  %8s  %9s  %9s\n", "%10d  %9.0f  %8.1f  %8.0f  %10.1f  %9s  %8.0f  %10.1f  %9s  %8.0f  %9.0f  %9s\n"
	fmt.Fprintf(w, heads, "keys", "filled/s", "settle s", "puts/s", "CPU us/put", "put p99", "gets/s", "CPU us/get", "get p99", "resident", "disk MiB", "restart")
	for _, s := range r.Steps {
		fmt.Fprintf(w, cells, s.Keys, s.FilledPerSecond, s.SettleSeconds,
			s.Puts.ThroughputPerSecond, cpu(s.Puts), measure.Micros(s.Puts.Latency.P99US),
			s.Gets.ThroughputPerSecond, cpu(s.Gets), measure.Micros(s.Gets.Latency.P99US),
			float64(s.resident())/(1<<20), float64(s.DiskBytes)/(1<<20), measure.Micros(int64(s.RestartSeconds*1e6)))
	}
	fmt.Fprintln(w)
}
