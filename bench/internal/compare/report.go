package compare

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
)

// quietCores is how much of a core others may use before the report says so.
const quietCores = 0.1

// Report is everything a comparison found, raw figures included.
type Report struct {
	Began          time.Time     `json:"began"`
	Machine        machine.Facts `json:"machine"`
	Disk           machine.Disk  `json:"disk"`
	A              Side          `json:"a"`
	B              Side          `json:"b"`
	Nodes          int           `json:"nodes"`
	Rounds         int           `json:"rounds"`
	LoadedRounds   int           `json:"loaded_rounds,omitempty"` // at most, of rows that load much
	WindowSeconds  float64       `json:"window_seconds"`
	WarmupSeconds  float64       `json:"warmup_seconds"`
	Keys           int           `json:"keys"`
	ValueSizeBytes int           `json:"value_size_bytes"`
	Seed           uint64        `json:"seed"`
	Summary        []RowSummary  `json:"summary"`
	Samples        []Sample      `json:"samples"`
	Warnings       []string      `json:"warnings,omitempty"`
	// Incomplete says why rounds are missing; empty if none is.
	Incomplete string `json:"incomplete,omitempty"`
}

// NewReport summarises what Run returned.
func NewReport(cfg Config, began time.Time, facts machine.Facts, disk machine.Disk, samples []Sample, warnings []string, runErr error) Report {
	r := Report{
		Began: began.UTC(), Machine: facts, Disk: disk, A: cfg.A, B: cfg.B,
		Nodes: cfg.Nodes, Rounds: cfg.Rounds, LoadedRounds: cfg.LoadedRounds,
		WindowSeconds: cfg.Duration.Seconds(), WarmupSeconds: cfg.Warmup.Seconds(),
		Keys: cfg.Keys, ValueSizeBytes: cfg.ValueSizeBytes, Seed: cfg.Seed,
		Summary: Summarize(cfg.Rows, samples), Samples: samples,
	}
	elsewhere := cfg.elsewhere()
	for _, warning := range warnings {
		r.Warnings = append(r.Warnings, elsewhere.Replace(warning))
	}
	if runErr != nil {
		r.Incomplete = elsewhere.Replace(runErr.Error())
	}
	return r
}

// elsewhere takes this machine's directories out of what servers say of files: they
// mean nothing where a report is read.
func (cfg Config) elsewhere() *strings.Replacer {
	var pairs []string
	for _, dir := range []string{cfg.Dir, filepath.Dir(cfg.A.Binary.Path), filepath.Dir(cfg.B.Binary.Path)} {
		if filepath.IsAbs(dir) && filepath.Dir(dir) != dir {
			pairs = append(pairs, dir, "DIR")
		}
	}
	return strings.NewReplacer(pairs...)
}

// WriteJSON writes the report with all raw figures.
func (r Report) WriteJSON(out io.Writer) error {
	return measure.WriteJSON(out, r)
}

// WriteText renders the report for a person.
func (r Report) WriteText(out io.Writer) error {
	w := bufio.NewWriter(out)
	r.writeFacts(w)
	for _, row := range r.Summary {
		r.writeRow(w, row)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "\nWARNING: %s\n", warning)
	}
	if r.Incomplete != "" {
		fmt.Fprintf(w, "\nINCOMPLETE: %s\n", r.Incomplete)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r Report) writeFacts(w io.Writer) {
	m := r.Machine
	rounds := fmt.Sprintf("%d rounds", r.Rounds)
	if loaded := func(row RowSummary) bool { return row.Row.Loaded }; r.LoadedRounds < r.Rounds && slices.ContainsFunc(r.Summary, loaded) {
		rounds += fmt.Sprintf(" (%d where much is loaded)", r.LoadedRounds)
	}
	fmt.Fprintf(w, "%s against %s, %d nodes each, %s, %s\n", r.A.Name, r.B.Name, r.Nodes, rounds, r.Began.Format(time.RFC3339))
	fmt.Fprintf(w, "machine  %s\n", m)
	fmt.Fprintf(w, "disk     %s, one fsync p50 %s, p99 %s\n",
		r.Disk.FileSystem, measure.Micros(r.Disk.SyncP50US), measure.Micros(r.Disk.SyncP99US))
	fmt.Fprintf(w, "code     commit %s, generator %s\n", m.Commit, m.GoVersion)
	for _, side := range []Side{r.A, r.B} {
		version := side.Binary.Module
		if side.Binary.Server != "" {
			version += ", etcd server " + side.Binary.Server
		}
		if side.Binary.Commit != "" {
			version += ", commit " + side.Binary.Commit
		}
		fmt.Fprintf(w, "program  %s: %s, %s\n", side.Name, version, side.Binary.GoVersion)
	}
	fmt.Fprintf(w, "load     %.4gs a point after %.4gs of warm-up, %d keys, values of %d bytes, seed %d\n",
		r.WindowSeconds, r.WarmupSeconds, r.Keys, r.ValueSizeBytes, r.Seed)
	fmt.Fprintf(w, "Columns: medians over the rounds, their ratio, and the smallest and largest ratio of a round.\n")
	fmt.Fprintf(w, "CPU and memory are those of all server processes together.\n")
}

func (r Report) writeRow(w io.Writer, row RowSummary) {
	width := max(12, len(r.A.Name), len(r.B.Name))
	fmt.Fprintf(w, "\n%s\n", row.Row.Name)
	fmt.Fprintf(w, "  %-12s  %*s  %*s  %7s  %-13s  %s\n", "", width, r.A.Name, width, r.B.Name, "ratio", "(min-max)", "target")
	for _, m := range row.Metrics {
		if len(m.A) == 0 && len(m.Goals) == 0 && (row.Row.Event != "" || !m.Metric.always()) {
			continue
		}
		if len(m.A) == 0 {
			fmt.Fprintf(w, "  %-12s  %*s\n", m.Metric, width, Unknown)
			continue
		}
		ratio, spread := "-", ""
		if m.Ratio > 0 {
			ratio = fmt.Sprintf("%.2fx", m.Ratio)
			spread = fmt.Sprintf("(%.2f-%.2f)", m.RatioMin, m.RatioMax)
		}
		var goals []string
		for _, g := range m.Goals {
			goals = append(goals, fmt.Sprintf("%s: %s", g.Goal, g.Verdict))
		}
		line := fmt.Sprintf("  %-12s  %*s  %*s  %7s  %-13s  %s", m.Metric,
			width, m.Metric.Format(m.MedianA), width, m.Metric.Format(m.MedianB), ratio, spread, strings.Join(goals, "; "))
		fmt.Fprintf(w, "%s\n", strings.TrimRight(line, " "))
	}
	if row.OthersCores[0] > quietCores || row.OthersCores[1] > quietCores {
		fmt.Fprintf(w, "  ~ not a quiet machine: others used up to %.2f cores beside %s, %.2f beside %s\n",
			row.OthersCores[0], r.A.Name, row.OthersCores[1], r.B.Name)
	}
	for _, f := range row.Faults {
		mark := "!"
		if f.Expected {
			mark = "-"
		}
		fmt.Fprintf(w, "  %s round %d, %s: %s\n", mark, f.Round+1, [2]Side{r.A, r.B}[f.Side].Name, f.Text)
	}
}
