package measure

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// setProcess writes what /proc says of a process with that much CPU time.
func setProcess(proc fstest.MapFS, pid int, cpu time.Duration) {
	ticks := cpu / (10 * time.Millisecond)
	proc[fmt.Sprintf("%d/stat", pid)] = &fstest.MapFile{
		Data: fmt.Appendf(nil, "%d (x) S 1 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 0", pid, ticks)}
	proc[fmt.Sprintf("%d/status", pid)] = &fstest.MapFile{
		Data: []byte("VmHWM: 2048 kB\nVmRSS: 1024 kB\n")}
}

func setMachine(proc fstest.MapFS, cpu time.Duration) {
	proc["stat"] = &fstest.MapFile{Data: fmt.Appendf(nil, "cpu %d 0 0 0 0 0 0 0\n", cpu/(10*time.Millisecond))}
}

func TestSamplerDividesByItsOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proc := fstest.MapFS{}
		setProcess(proc, 71, 10*time.Second)
		setProcess(proc, 72, 20*time.Second)
		setProcess(proc, os.Getpid(), 0)
		setMachine(proc, time.Hour)
		s := newSampler(proc, []int{71, 72})
		if err := s.begin(); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second) // virtual: the sampling was late by a second
		setProcess(proc, 71, 12*time.Second)
		setProcess(proc, 72, 23*time.Second)
		setProcess(proc, os.Getpid(), 2*time.Second)
		setMachine(proc, time.Hour+8*time.Second)
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		p := Point{Result: load.Result{ThroughputPerSecond: 10_000}}
		s.fill(&p)
		if p.Servers.Cores != 1 || p.Servers.CPUPerOpUS != 100 || p.Servers.ResidentBytes != 2<<20 || p.Servers.PeakResidentBytes != 4<<20 {
			t.Errorf("servers %+v", p.Servers)
		}
		if p.Generator.Cores != 0.4 || p.Generator.CPUPerOpUS != 40 {
			t.Errorf("generator %+v", p.Generator)
		}
		if got := p.Others.Cores; got < 0.199 || got > 0.201 {
			t.Errorf("others used %v cores, want 0.2", got)
		}
	})
}

func TestServerThatEndsOrIsReplacedFails(t *testing.T) {
	proc := fstest.MapFS{}
	setProcess(proc, 71, 10*time.Second)
	s := newSampler(proc, []int{71})
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	setProcess(proc, 71, time.Second)
	if err := s.end(); err == nil {
		t.Error("a reused process id was not noticed")
	}
	delete(proc, "71/stat")
	if err := s.end(); err == nil {
		t.Error("a process that is gone was not noticed")
	}
}

func TestWithoutProcOnlyRequestedFiguresFail(t *testing.T) {
	s := newSampler(fstest.MapFS{}, nil)
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	p := Point{}
	s.fill(&p)
	if p.Servers != nil || p.Generator != nil || p.Others != nil {
		t.Errorf("figures out of nothing: %+v", p)
	}
	if err := newSampler(fstest.MapFS{}, []int{71}).begin(); err == nil {
		t.Error("a process that cannot be read was not noticed")
	}
}

func TestValidateReportsAllFaults(t *testing.T) {
	err := Spec{Target: "some", Connections: 0, PIDs: []int{-4}}.Validate()
	for _, word := range []string{"target", "connections", "-4 is not a process id", "clients", "keys"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not mention %s", err, word)
		}
	}
}

func TestPointText(t *testing.T) {
	latency := load.Latency{Count: 9, MeanUS: 900, P50US: 750, P90US: 1200, P99US: 28_000, P999US: 175_500, MaxUS: 2_345_678}
	p := Point{
		Target: TargetAll, Endpoints: []string{"localhost:8001", "localhost:8002"}, Connections: 10,
		Workload: kvload.Spec{ReadPercent: 90, Keys: 10_000, ValueSizeBytes: 256, Seed: 7},
		Result: load.Result{
			Clients: 100, RatePerSecond: 5000, WindowSeconds: 10, Completed: 49_000, ThroughputPerSecond: 4900, Latency: latency,
			Kinds: []load.KindResult{
				{Kind: "put", Completed: 4900, ThroughputPerSecond: 490, Latency: latency},
				{Kind: "get", Completed: 44_100, ThroughputPerSecond: 4410, Latency: latency},
			},
			Errors:       []load.ErrorCount{{Class: "Unavailable", Count: 3, Example: "etcdserver: leader changed"}},
			WarmupErrors: []load.ErrorCount{{Class: "DeadlineExceeded", Count: 1, Example: "too late"}},
			Unsent:       12,
		},
		LeaderChanged: true,
		Servers:       &Cost{Cores: 1.25, CPUPerOpUS: 152.4, ResidentBytes: 300 << 20, PeakResidentBytes: 400 << 20},
		Generator:     &Cost{Cores: 0.5, ResidentBytes: 30 << 20, PeakResidentBytes: 31 << 20},
		Others:        &Others{Cores: 0.1, StolenCores: 0.02},
	}
	quiet := Point{
		Target: TargetLeader, Endpoints: []string{"localhost:8001"}, Connections: 1, Workload: kvload.Spec{Keys: 1},
		Result: load.Result{Clients: 1, WindowSeconds: 2.5, Completed: 10, ThroughputPerSecond: 4, Latency: latency},
	}
	var got bytes.Buffer
	for _, point := range []Point{p, quiet} {
		if err := point.WriteText(&got); err != nil {
			t.Fatal(err)
		}
		got.WriteString("----\n")
	}
	golden := filepath.Join("testdata", "point.golden")
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
