package compare

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// point makes a measurement whose figures all follow from the throughput.
func point(throughput float64) measure.Point {
	us := int64(1e6 / throughput)
	return measure.Point{
		Target: measure.TargetLeader,
		Result: load.Result{
			ThroughputPerSecond: throughput,
			Latency:             load.Latency{Count: 1, P50US: us, P90US: 2 * us, P99US: 4 * us, P999US: 8 * us, MaxUS: 16 * us},
		},
		Servers: &measure.Cost{Cores: 1, CPUPerOpUS: 1e6 / throughput, ResidentBytes: 100 << 20},
	}
}

// pairs makes the samples of one row from the throughput of A and B by round.
func pairs(row int, throughputs ...[2]float64) []Sample {
	var samples []Sample
	for round, both := range throughputs {
		for side, throughput := range both {
			samples = append(samples, Sample{Round: round, Side: side, Row: row, Point: point(throughput)})
		}
	}
	return samples
}

func oneRow(goals ...Goal) []Row {
	return []Row{{Name: "put", Clients: 1, Connections: 1, Target: measure.TargetLeader, Goals: goals}}
}

func metricOf(t *testing.T, s RowSummary, metric Metric) MetricSummary {
	t.Helper()
	for _, m := range s.Metrics {
		if m.Metric == metric {
			return m
		}
	}
	t.Fatalf("no %s", metric)
	return MetricSummary{}
}

func TestSummaryTakesMediansAndPairsRounds(t *testing.T) {
	samples := pairs(0, [2]float64{300, 100}, [2]float64{220, 110}, [2]float64{500, 200})
	m := metricOf(t, Summarize(oneRow(), samples)[0], Throughput)
	if m.MedianA != 300 || m.MedianB != 110 || m.Ratio != 300.0/110 || m.RatioMin != 2 || m.RatioMax != 3 {
		t.Errorf("got %+v", m)
	}
}

func TestRoundWithoutPartnerDoesNotCount(t *testing.T) {
	samples := pairs(0, [2]float64{300, 100}, [2]float64{1e6, 1})[:3] // B of round 2 is missing
	m := metricOf(t, Summarize(oneRow(), samples)[0], Throughput)
	if len(m.A) != 1 || m.Ratio != 3 {
		t.Errorf("got %+v", m)
	}
}

func TestVerdicts(t *testing.T) {
	goal := Goal{Metric: Throughput, Ratio: 2}
	failed := pairs(0, [2]float64{300, 100})
	failed[1].Point.Errors = []load.ErrorCount{{Class: "Unavailable", Count: 1, Example: "gone"}}
	moved := pairs(0, [2]float64{300, 100})
	moved[0].Point.LeaderChanged = true
	for name, c := range map[string]struct {
		goal    Goal
		samples []Sample
		want    string
	}{
		"every round":      {goal, pairs(0, [2]float64{200, 100}, [2]float64{300, 100}), Met},
		"no round":         {goal, pairs(0, [2]float64{199, 100}, [2]float64{100, 100}), Missed},
		"some rounds":      {goal, pairs(0, [2]float64{199, 100}, [2]float64{300, 100}), Mixed},
		"at most":          {Goal{Metric: P99, Ratio: 0.4, AtMost: true}, pairs(0, [2]float64{1000, 300}), Met},
		"at most, missed":  {Goal{Metric: CPUPerOp, Ratio: 0.35, AtMost: true}, pairs(0, [2]float64{200, 100}), Missed},
		"below the floor":  {goal, pairs(0, [2]float64{90, 100}), Below},
		"floor of its own": {Goal{Metric: Throughput, Ratio: 2.5, Floor: 1.5}, pairs(0, [2]float64{140, 100}), Below},
		"by the median":    {Goal{Metric: P99, Ratio: 20_000, AtMost: true, Absolute: true}, pairs(0, [2]float64{300, 100}, [2]float64{10, 100}, [2]float64{300, 1}), Met},
		"itself too slow":  {Goal{Metric: P99, Ratio: 1000, AtMost: true, Absolute: true}, pairs(0, [2]float64{300, 100}), Missed},
		"errors":           {goal, failed, Invalid},
		"leader changed":   {goal, moved, Invalid},
		"nothing":          {goal, nil, Unknown},
		"reference at 0":   {goal, pairs(0, [2]float64{100, 0}), Unknown},
	} {
		m := metricOf(t, Summarize(oneRow(c.goal), c.samples)[0], c.goal.Metric)
		if len(m.Goals) != 1 || m.Goals[0].Verdict != c.want {
			t.Errorf("%s: %+v, want verdict %q", name, m.Goals, c.want)
		}
	}
}

// Failures while members are killed are shown and void nothing, but a wrong answer
// does.
func TestExpectedFailuresAreShown(t *testing.T) {
	samples := pairs(0, [2]float64{300, 100})
	for i := range samples {
		p := &samples[i].Point
		p.FailuresExpected, p.Completed = true, 30
		p.Errors = []load.ErrorCount{{Class: "Unavailable", Count: 10, Example: "gone"}}
	}
	rows := oneRow(Goal{Metric: Throughput, Ratio: 1})
	s := Summarize(rows, samples)[0]
	if m := metricOf(t, s, FailedPercent); m.MedianA != 25 {
		t.Errorf("%v %% failed, want 25", m.MedianA)
	}
	if m := metricOf(t, s, Throughput); m.Goals[0].Verdict != Met || len(s.Faults) != 2 || !s.Faults[0].Expected {
		t.Errorf("%q, %+v", m.Goals[0].Verdict, s.Faults)
	}
	samples[1].Point.Errors[0].Class = kvload.ClassWrongAnswer
	if m := metricOf(t, Summarize(rows, samples)[0], Throughput); m.Goals[0].Verdict != Invalid {
		t.Errorf("a wrong answer was excused: %q", m.Goals[0].Verdict)
	}
}

// The ratio of the medians lies between the extremes of the rounds' ratios.
func TestSpreadHoldsTheRatio(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		var rounds [][2]float64
		for range 1 + rng.IntN(7) {
			rounds = append(rounds, [2]float64{1 + 1000*rng.Float64(), 1 + 1000*rng.Float64()})
		}
		m := metricOf(t, Summarize(oneRow(), pairs(0, rounds...))[0], Throughput)
		const rounding = 1e-12
		if m.Ratio < m.RatioMin*(1-rounding) || m.Ratio > m.RatioMax*(1+rounding) {
			t.Fatalf("ratio %v outside %v-%v for %v", m.Ratio, m.RatioMin, m.RatioMax, rounds)
		}
	}
}

func TestReportText(t *testing.T) {
	rows := Matrix()[:3]
	samples := append(pairs(0, [2]float64{1800, 900}, [2]float64{1700, 880}, [2]float64{1750, 920}),
		pairs(1, [2]float64{20_000, 7700}, [2]float64{18_000, 7800}, [2]float64{21_000, 7600})...)
	samples[3].Point.Others = &measure.Others{Cores: 0.5, StolenCores: 0.25}
	last := len(samples) - 1
	samples[last].Point.Errors = []load.ErrorCount{{Class: "Unavailable", Count: 12, Example: "etcdserver: leader changed"}}
	samples[last].Point.WarmupErrors = []load.ErrorCount{{Class: "DeadlineExceeded", Count: 1, Example: "too late"}}
	samples[last].Point.Servers = nil
	r := NewReport(Config{
		A:     Side{Name: "raft-kv", Binary: machine.Binary{Path: "/x/raft-kv", GoVersion: "go1.26.8", Module: "raftkv"}},
		B:     Side{Name: "etcd", Binary: machine.Binary{Path: "/x/etcd", GoVersion: "go1.26.8", Module: "raftkv/bench/etcd", Server: "v3.7.3"}},
		Nodes: 3, Rounds: 3, Rows: rows, Duration: 5 * time.Second, Warmup: time.Second, Keys: 10_000, ValueSizeBytes: 256, Seed: 1,
	}, time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC), machine.Facts{
		Cores: 2, Processor: "Example CPU", MemoryBytes: 8 << 30, OS: "linux/amd64", Kernel: "6.18.0",
		LoadAverage: "0.10", GoVersion: "go1.26.8", Commit: "0123456789ab+changes",
	}, machine.Disk{FileSystem: "ext4", SyncP50US: 108, SyncP99US: 1750}, samples,
		[]string{"put, round 1: stopping: raft-kv node1 ended by itself (exit status 3)"},
		errors.New("put, 1000 clients, to the leader, round 1, raft-kv: context canceled"))
	var got bytes.Buffer
	if err := r.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the report changed (run with -update to accept):\n%s", got.String())
	}
}

// Reports are committed as they are, so they must not tell of the machine's
// directories.
func TestJSONHasNoPathsOfTheMachine(t *testing.T) {
	work := "/secret/work"
	side := Side{Name: "a", Binary: machine.Inspect("/secret/bin/raft-kv")}
	r := NewReport(Config{A: side, B: side, Dir: work}, time.Time{}, machine.Facts{}, machine.Disk{}, nil,
		[]string{"opening /secret/work/cluster-1/node1: gone"}, errors.New("exec /secret/bin/raft-kv: gone"))
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "secret") || !strings.Contains(text, `"program": "raft-kv"`) ||
		!strings.Contains(text, "opening DIR/cluster-1/node1: gone") {
		t.Errorf("got\n%s", text)
	}
}

// The matrix is what the targets talk about; a slip here would judge the
// wrong thing.
func TestMatrixIsValid(t *testing.T) {
	names := map[string]bool{}
	for _, row := range Matrix() {
		if names[row.Name] {
			t.Errorf("%q occurs twice", row.Name)
		}
		names[row.Name] = true
		if len(row.Goals) == 0 {
			t.Errorf("%s has no goal", row.Name)
		}
		if row.Event != "" {
			continue
		}
		spec := measure.Spec{
			Target: row.Target, Connections: row.Connections, Workload: row.Workload(1000, 10, 1),
			Load: load.Config{Clients: row.Clients, Duration: time.Second, Timeout: time.Second},
		}
		if err := spec.Validate(); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
	}
}

func TestFindRepository(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "bench", "etcd", "deep")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := FindRepository(inner); !errors.Is(err, ErrNoRepository) {
		t.Errorf("found a repository that is not there: %v", err)
	}
	for path, text := range map[string]string{
		filepath.Join(root, "go.mod"):                  "// the root\nmodule raftkv\n\ngo 1.26.0\n",
		filepath.Join(root, "bench", "etcd", "go.mod"): "module raftkv/bench/etcd\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := FindRepository(inner); err != nil || got != root {
		t.Errorf("got %s, %v; want %s", got, err, root)
	}
}

func TestBuildQuotesTheCompiler(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module broken\n\ngo 1.26.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Build(t.Context(), dir, "./cmd/none", filepath.Join(dir, "out"))
	if err == nil || !strings.Contains(err.Error(), "cmd/none") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("err = %v", err)
	}
}

// Both programs are this test program, which plays a server (server_test.go):
// the whole comparison runs but for the real servers.
func TestRunComparesRealProcesses(t *testing.T) {
	cfg := fakeComparison(t)
	samples, warnings, err := Run(t.Context(), cfg)
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, warnings %q", err, warnings)
	}
	want := len(cfg.Rows) * cfg.Rounds * 2
	if len(samples) != want {
		t.Fatalf("%d samples, want %d", len(samples), want)
	}
	for i, s := range samples {
		if s.Side != i%2 || s.Round != i/2%cfg.Rounds || s.Row != i/2/cfg.Rounds {
			t.Errorf("sample %d is row %d, round %d, side %d: rounds do not alternate", i, s.Row, s.Round, s.Side)
		}
		if s.Point.Completed == 0 || s.Point.ErrorTotal() != 0 {
			t.Errorf("sample %d: %+v", i, s.Point.Result)
		}
	}
	if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if lines := strings.Count(cfg.Progress.(*bytes.Buffer).String(), "\n"); lines != want {
		t.Errorf("%d lines of progress, want %d", lines, want)
	}
}

func TestLoadedRowsHaveFewerRounds(t *testing.T) {
	cfg := Config{Rounds: 3, LoadedRounds: 1}
	if cfg.rounds(Row{}) != 3 || cfg.rounds(Row{Loaded: true}) != 1 || (Config{Rounds: 1, LoadedRounds: 5}).rounds(Row{Loaded: true}) != 1 {
		t.Error("rounds are counted wrongly")
	}
}

func TestFailingServerIsCountedNotHidden(t *testing.T) {
	cfg := fakeComparison(t)
	t.Setenv(fakeFails, "1")
	cfg.Rows, cfg.Rounds = cfg.Rows[:1], 1
	samples, _, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	summary := Summarize(cfg.Rows, samples)[0]
	if len(summary.Faults) == 0 {
		t.Fatal("failed operations left no trace")
	}
	if m := metricOf(t, summary, Throughput); m.Goals[0].Verdict != Invalid {
		t.Errorf("verdict %q on a row with failures", m.Goals[0].Verdict)
	}
}

func TestRunKeepsSamplesWhenInterrupted(t *testing.T) {
	cfg := fakeComparison(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Progress = cancelAfterFirst{cancel}
	samples, _, err := Run(ctx, cfg)
	if !errors.Is(err, context.Canceled) || len(samples) != 1 {
		t.Errorf("%d samples, %v; want the first one and the interrupt", len(samples), err)
	}
	if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// cancelAfterFirst interrupts when the first measurement is reported.
type cancelAfterFirst struct{ cancel context.CancelFunc }

func (c cancelAfterFirst) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}

func fakeComparison(t *testing.T) Config {
	t.Helper()
	t.Setenv(fakeServer, "1")
	program := machine.Inspect(os.Args[0])
	return Config{
		A: Side{Name: "a", Binary: program}, B: Side{Name: "b", Binary: program},
		Nodes: 3, Rounds: 2,
		Rows: []Row{
			{Name: "put", Clients: 4, Connections: 2, Target: measure.TargetLeader, Goals: []Goal{{Metric: Throughput, Ratio: 1}}},
			{Name: "get", Clients: 4, Connections: 3, Target: measure.TargetAll, ReadPercent: 100, AbsentKeys: true},
		},
		Duration: 300 * time.Millisecond, Timeout: 10 * time.Second,
		Keys: 10, ValueSizeBytes: 16, Dir: t.TempDir(), Proc: os.DirFS("/proc"), Progress: &bytes.Buffer{},
	}
}
