package grow

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
	"raftkv/bench/internal/procstat"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestStepsEndAtTheMaximum(t *testing.T) {
	for keysMax, want := range map[int]string{
		10_000_000: "[100000 1000000 10000000]", 3_000_000: "[100000 1000000 3000000]", 100_000: "[100000]", 5: "[5]",
	} {
		if got := fmt.Sprint(Steps(keysMax)); got != want {
			t.Errorf("up to %d: %s, want %s", keysMax, got, want)
		}
	}
}

// step makes one whose puts cost so much and whose members take so many MiB.
func step(keys int, cpuUS float64, mib int64) Step {
	p := measure.Point{
		Result:  load.Result{ThroughputPerSecond: 1e6 / cpuUS, Latency: load.Latency{Count: 1, P99US: int64(100 * cpuUS)}},
		Servers: &measure.Cost{CPUPerOpUS: cpuUS, ResidentBytes: mib << 20},
	}
	return Step{Keys: keys, FilledPerSecond: 50_000, SettleSeconds: 2, Puts: p, Gets: p, DiskBytes: 300 << 20, RestartSeconds: 0.25}
}

func TestGrowthIsJudged(t *testing.T) {
	failed := step(10_000_000, 10, 500)
	failed.Gets.Errors = []load.ErrorCount{{Class: "Unavailable", Count: 1}}
	for name, c := range map[string]struct {
		steps []Step
		want  string // verdicts on puts, gets and memory
	}{
		"flat":      {[]Step{step(100_000, 10, 100), step(1_000_000, 12, 400), step(10_000_000, 15, 500)}, "met met met"},
		"grows":     {[]Step{step(100_000, 10, 100), step(1_000_000, 12, 400), step(10_000_000, 15.1, 501)}, "MISSED MISSED MISSED"},
		"too few":   {[]Step{step(100_000, 10, 100), step(1_000_000, 12, 400)}, "met met not measured"},
		"one":       {[]Step{step(100_000, 10, 100)}, "not measured not measured not measured"},
		"failures":  {[]Step{step(1_000_000, 10, 400), failed}, "not counted not counted not counted"},
		"no figure": {[]Step{{Keys: 1_000_000}, {Keys: 10_000_000}}, "not measured not measured not measured"},
	} {
		var got []string
		for _, g := range judge(c.steps) {
			got = append(got, g.Verdict)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReportText(t *testing.T) {
	busy := step(10_000_000, 18, 420)
	busy.Puts.Others = &measure.Others{Cores: 0.3}
	busy.Unsettled = true
	busy.Gets.LeaderChanged = true
	r := NewReport(Config{
		Binary: machine.Binary{Path: "/x/raft-kv", Program: "raft-kv", GoVersion: "go1.26.8"}, Nodes: 3,
		Duration: 5 * time.Second, Warmup: 2 * time.Second, ValueSizeBytes: 256, Seed: 1, Dir: "/x/work",
	}, time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC), machine.Facts{
		Cores: 2, Processor: "Example CPU", MemoryBytes: 8 << 30, OS: "linux/amd64", Kernel: "6.18.0", LoadAverage: "0.10", Commit: "0123456789ab",
	}, machine.Disk{FileSystem: "ext4", SyncP50US: 108, SyncP99US: 1750},
		[]Step{step(100_000, 10, 100), step(1_000_000, 12.5, 400), busy}, errors.New("removing /x/work/grow-1: busy"))
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

func TestJSONHasNoPathsOfTheMachine(t *testing.T) {
	r := NewReport(Config{Binary: machine.Inspect("/secret/raft-kv"), Dir: "/secret/work"}, time.Time{}, machine.Facts{}, machine.Disk{}, nil,
		errors.New("removing /secret/work/grow-1: busy"))
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil || strings.Contains(out.String(), "secret") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// proc is a process that uses a core until it rests.
type proc struct{ started, rests time.Time }

func (p proc) Open(name string) (fs.File, error) {
	now := time.Now()
	if now.After(p.rests) {
		now = p.rests
	}
	return fstest.MapFS{
		"71/stat":   {Data: fmt.Appendf(nil, "71 (x) S 1 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 0", now.Sub(p.started)/(10*time.Millisecond))},
		"71/status": {Data: []byte("VmHWM: 2048 kB\nVmRSS: 1024 kB\n")},
	}.Open(name)
}

// Members are waited for until they rest, but not for ever.
func TestSettling(t *testing.T) {
	for rests, want := range map[time.Duration]time.Duration{
		0: settleEvery, 5 * time.Second: 6 * time.Second, time.Hour: settleMax,
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			settled, err := settle(t.Context(), procstat.Reader{Proc: proc{start, start.Add(rests)}}, []int{71})
			if took := time.Since(start); err != nil || settled != (rests < settleMax) || took != want {
				t.Errorf("resting after %v: %t after %v, %v", rests, settled, took, err)
			}
		})
	}
}
