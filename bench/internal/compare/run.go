package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"raftkv/bench/internal/cluster"
	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
)

const readyTimeout = time.Minute

// Side is one of the two servers compared.
type Side struct {
	Name   string         `json:"name"`
	Binary machine.Binary `json:"binary"`
}

// Config says what is compared and how.
type Config struct {
	A, B           Side
	Nodes          int
	Rounds         int
	LoadedRounds   int // at most, of rows that load much
	Rows           []Row
	Duration       time.Duration
	Warmup         time.Duration
	Timeout        time.Duration
	Keys           int
	ValueSizeBytes int
	Seed           uint64
	// Kills is how often failover rows kill the leader of each side, over all
	// rounds; LoadedKeys and EventKeys are the keys of other rows with events.
	Kills, LoadedKeys, EventKeys int
	// Dir is an existing directory on a disk; clusters get and lose
	// subdirectories of it.
	Dir  string
	Proc fs.FS
	// Progress receives a line per measurement.
	Progress io.Writer
}

// Sample is one measurement of one side in one round, both counted from 0.
type Sample struct {
	Round int           `json:"round"`
	Side  int           `json:"side"` // 0: A, 1: B
	Row   int           `json:"row"`
	Point measure.Point `json:"point"`
}

// Run measures row by row, each in all its rounds. With an error it still
// returns the samples taken before. Warnings tell of servers that did not end
// as they should after a measurement that had succeeded.
func Run(ctx context.Context, cfg Config) (samples []Sample, warnings []string, err error) {
	for row := range cfg.Rows {
		for round := range cfg.rounds(cfg.Rows[row]) {
			for side := range 2 {
				point, warning, err := cfg.one(ctx, row, round, side)
				if err != nil {
					return samples, warnings, fmt.Errorf("%s, round %d, %s: %w",
						cfg.Rows[row].Name, round+1, cfg.side(side).Name, err)
				}
				if warning != nil {
					warnings = append(warnings, fmt.Sprintf("%s, round %d: stopping: %v", cfg.Rows[row].Name, round+1, warning))
				}
				samples = append(samples, Sample{Round: round, Side: side, Row: row, Point: point})
			}
		}
	}
	return samples, warnings, nil
}

func (cfg Config) rounds(row Row) int {
	if row.Loaded {
		return min(cfg.Rounds, cfg.LoadedRounds)
	}
	return cfg.Rounds
}

func (cfg Config) side(i int) Side { return [2]Side{cfg.A, cfg.B}[i] }

// one takes one measurement on a fresh cluster.
func (cfg Config) one(ctx context.Context, row, round, side int) (point measure.Point, warning, err error) {
	dir, err := os.MkdirTemp(cfg.Dir, "cluster-")
	if err != nil {
		return point, nil, fmt.Errorf("creating the cluster's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	servers, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.side(side).Name, Binary: cfg.side(side).Binary.Path, Dir: dir, Nodes: cmp.Or(cfg.Rows[row].Nodes, cfg.Nodes),
		Ready: kvload.AllServe, ReadyTimeout: readyTimeout,
	})
	if err != nil {
		return point, nil, err
	}
	if cfg.Rows[row].Event != "" {
		point, err = cfg.runEvent(ctx, cfg.Rows[row], servers, dir)
	} else {
		point, err = measure.Run(ctx, cfg.measurement(cfg.Rows[row], side, servers))
		point.DiskBytes = machine.DiskUsage(dir)
	}
	err = errors.Join(err, servers.Alive())
	warning = servers.Stop(ctx)
	if err != nil {
		return point, nil, err // the cause; how the cluster ended adds nothing
	}
	return point, warning, cfg.progress(round, side, cfg.Rows[row], point)
}

func (cfg Config) measurement(row Row, side int, servers *cluster.Cluster) measure.Spec {
	spec := measure.Spec{
		Endpoints:   servers.Endpoints(),
		Target:      row.Target,
		Connections: row.Connections,
		Workload:    row.Workload(cfg.Keys, cfg.ValueSizeBytes, cfg.Seed),
		Load: load.Config{
			Clients: row.Clients, Rate: row.Rate, Duration: cfg.Duration, Warmup: cfg.Warmup, Timeout: cfg.Timeout,
		},
		Preload: true,
		Compact: row.Compact,
		PIDs:    servers.PIDs(),
		Proc:    cfg.Proc,
	}
	if side == 0 && row.NativeConnections > 0 {
		spec.Workload.API, spec.Connections = kvload.APINative, row.NativeConnections
	}
	return spec
}

func (cfg Config) progress(round, side int, row Row, p measure.Point) error {
	faults := ""
	if n := p.ErrorTotal(); n > 0 && p.FailuresExpected {
		faults = fmt.Sprintf(", %d failed", n)
	} else if n > 0 {
		faults = fmt.Sprintf(", %d ERRORS", n)
	}
	_, err := fmt.Fprintf(cfg.Progress, "round %d/%d %s: %s: %s%s\n",
		round+1, cfg.rounds(row), cfg.side(side).Name, row.Name, outcome(row, p), faults)
	if err != nil {
		return fmt.Errorf("writing progress: %w", err)
	}
	return nil
}

// TempDir makes the directory that all clusters of a run share, below parent
// ("": the system's). The caller removes it.
func TempDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "raftkv-bench-")
	if err != nil {
		return "", fmt.Errorf("creating a working directory: %w", err)
	}
	return filepath.Abs(dir)
}
