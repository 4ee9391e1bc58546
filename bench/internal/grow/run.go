package grow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"raftkv/bench/internal/cluster"
	"raftkv/bench/internal/drill"
	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
	"raftkv/bench/internal/procstat"
)

const (
	firstStep, stepFactor = 100_000, 10
	// clients share sessions, as in the row of native puts.
	clients, sessions = 1000, 4
	readyTimeout      = 3 * time.Minute
	dialTimeout       = 10 * time.Second
)

// Config says what grows and how it is measured.
type Config struct {
	Binary         machine.Binary
	Nodes          int
	KeysMax        int
	ValueSizeBytes int
	Seed           uint64
	Duration       time.Duration
	Warmup         time.Duration
	Timeout        time.Duration
	// Dir is an existing directory on a disk, which the cluster's is made in.
	Dir  string
	Proc fs.FS
	// Progress receives a line per step.
	Progress io.Writer
}

// Validate reports all faults at once.
func (cfg Config) Validate() error {
	return errors.Join(cfg.workload(cfg.KeysMax, 0).Validate(), cfg.load().Validate())
}

// Step is what was measured with so many keys.
type Step struct {
	Keys int `json:"keys"`
	// FilledPerSecond is how fast the keys came that the step before did not have.
	FilledPerSecond float64 `json:"filled_per_second"`
	// SettleSeconds is how long the members still worked after that; Unsettled, that
	// they did so beside the measurements.
	SettleSeconds float64       `json:"settle_seconds"`
	Unsettled     bool          `json:"unsettled,omitempty"`
	Puts          measure.Point `json:"puts"`
	Gets          measure.Point `json:"gets"`
	DiskBytes     int64         `json:"disk_bytes"`
	// RestartSeconds is the time from the start of all members, after kill -9, until
	// a write was acknowledged.
	RestartSeconds float64 `json:"restart_seconds"`
}

// Steps are the numbers of keys up to keysMax, which is the last one.
func Steps(keysMax int) []int {
	var steps []int
	for keys := firstStep; keys < keysMax; keys *= stepFactor {
		steps = append(steps, keys)
	}
	return append(steps, keysMax)
}

// Run takes all steps. With an error it still returns those before.
func Run(ctx context.Context, cfg Config) (steps []Step, err error) {
	dir, err := os.MkdirTemp(cfg.Dir, "grow-")
	if err != nil {
		return nil, fmt.Errorf("creating the cluster's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	servers, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.Binary.Program, Binary: cfg.Binary.Path, Dir: dir, Nodes: cfg.Nodes,
		Ready: kvload.AllServe, ReadyTimeout: readyTimeout, QuotaBytes: cfg.quotaBytes(),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, servers.Stop(ctx)) }()
	before := 0
	for _, keys := range Steps(cfg.KeysMax) {
		step, err := cfg.step(ctx, servers, dir, before, keys)
		if err != nil {
			return steps, fmt.Errorf("%d keys: %w", keys, err)
		}
		steps, before = append(steps, step), keys
		if err := cfg.progress(step); err != nil {
			return steps, err
		}
	}
	return steps, nil
}

// quotaBytes has room for every key, what it is written with and what the
// measured windows write beside.
func (cfg Config) quotaBytes() int64 {
	const perVersion, versions = 256, 4
	return versions * int64(cfg.KeysMax) * int64(cfg.ValueSizeBytes+perVersion)
}

func (cfg Config) progress(s Step) error {
	_, err := fmt.Fprintf(cfg.Progress, "%d keys: filled at %.0f/s, puts %.0f/s, gets %.0f/s, restart %.2g s\n",
		s.Keys, s.FilledPerSecond, s.Puts.ThroughputPerSecond, s.Gets.ThroughputPerSecond, s.RestartSeconds)
	if err != nil {
		return fmt.Errorf("writing progress: %w", err)
	}
	return nil
}

// step fills in the keys from before on and measures.
func (cfg Config) step(ctx context.Context, servers *cluster.Cluster, dir string, before, keys int) (s Step, err error) {
	s.Keys = keys
	began := time.Now()
	if err := cfg.fill(ctx, servers, before, keys); err != nil {
		return s, err
	}
	s.FilledPerSecond = float64(keys-before) / time.Since(began).Seconds()
	began = time.Now()
	settled, err := settle(ctx, procstat.Reader{Proc: cfg.Proc}, servers.PIDs())
	if err != nil {
		return s, err
	}
	s.SettleSeconds, s.Unsettled = time.Since(began).Seconds(), !settled
	s.DiskBytes = machine.DiskUsage(dir)
	for _, m := range []struct {
		reads int
		into  *measure.Point
	}{{0, &s.Puts}, {100, &s.Gets}} {
		if *m.into, err = measure.Run(ctx, cfg.measurement(servers, keys, m.reads)); err != nil {
			return s, err
		}
	}
	took, err := drill.RestartAll(ctx, servers)
	if err != nil {
		return s, err
	}
	s.RestartSeconds = took.Seconds()
	return s, servers.AwaitReady(ctx, readyTimeout, kvload.AllServe)
}

func (cfg Config) workload(keys, reads int) kvload.Spec {
	return kvload.Spec{API: kvload.APINative, Keys: keys, ReadPercent: reads, ValueSizeBytes: cfg.ValueSizeBytes, Seed: cfg.Seed}
}

func (cfg Config) load() load.Config {
	return load.Config{Clients: clients, Duration: cfg.Duration, Warmup: cfg.Warmup, Timeout: cfg.Timeout}
}

func (cfg Config) measurement(servers *cluster.Cluster, keys, reads int) measure.Spec {
	return measure.Spec{
		Endpoints: servers.Endpoints(), Target: measure.TargetLeader, Connections: sessions,
		Workload: cfg.workload(keys, reads), Load: cfg.load(), PIDs: servers.PIDs(), Proc: cfg.Proc,
	}
}

func (cfg Config) fill(ctx context.Context, servers *cluster.Cluster, from, to int) (err error) {
	leader, err := leaderOf(ctx, servers)
	if err != nil {
		return err
	}
	w := kvload.New(cfg.workload(to, 0), nil, clients)
	if err := w.Open([]string{leader}, sessions); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.Fill(ctx, cfg.Timeout, from, to)
}

func leaderOf(ctx context.Context, servers *cluster.Cluster) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return kvload.Leader(ctx, servers.Endpoints())
}
