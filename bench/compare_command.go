package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
)

// compareOptions are the flags of bench compare.
type compareOptions struct {
	cfg          compare.Config
	aBin, bBin   string
	aName, bName string
	rows         string
	dir          string
	repo         string
	jsonFile     string
}

// Bounds that keep a typing error from starting a hundred servers.
const (
	maxNodes  = 9
	maxRounds = 1000
	maxKills  = 10_000
)

func compareCommand() *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure raft-kv against etcd in alternating rounds",
		Long: "Builds raft-kv (A) and etcd (B) from source, or takes the programs given, and in every round starts a\n" +
			"cluster of each in turn on this machine, runs the matrix and ends it. The ratios are printed beside\n" +
			"their targets, the raw figures written as JSON.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.aBin, "a-bin", "", "program A (default: built from ./cmd/raft-kv)")
	flags.StringVar(&o.bBin, "b-bin", "", "program B (default: built from ./bench/etcd)")
	flags.StringVar(&o.aName, "a-name", "", "name of A in the report (default: its file name)")
	flags.StringVar(&o.bName, "b-name", "", "name of B in the report (default: its file name)")
	flags.IntVar(&o.cfg.Nodes, "nodes", 3, "nodes of each cluster")
	flags.IntVar(&o.cfg.Rounds, "rounds", 3, "rounds; each measures A, then B")
	flags.IntVar(&o.cfg.LoadedRounds, "loaded-rounds", 1, "rounds, at most, of rows that load about a million keys: restart, space, pages, versions")
	flags.StringVar(&o.rows, "rows", "", "measure only the rows whose name matches this regular expression")
	flags.DurationVar(&o.cfg.Duration, "duration", 3*time.Second, "length of a measured window")
	flags.DurationVar(&o.cfg.Warmup, "warmup", time.Second, "load before each measured window")
	flags.DurationVar(&o.cfg.Timeout, "timeout", 10*time.Second, "time limit of an operation")
	flags.IntVar(&o.cfg.Keys, "keys", 10_000, "number of different keys")
	flags.IntVar(&o.cfg.ValueSizeBytes, "value-size", 256, "bytes of a value")
	flags.Uint64Var(&o.cfg.Seed, "seed", 1, "decides keys and values")
	flags.IntVar(&o.cfg.Kills, "kills", compare.DefaultKills, "kills of each side's leader in failover rows, over all rounds")
	flags.IntVar(&o.cfg.LoadedKeys, "loaded-keys", compare.DefaultLoadedKeys, "number of keys of the rows restart and space")
	flags.IntVar(&o.cfg.EventKeys, "event-keys", compare.DefaultEventKeys, "number of keys of the rows snapshot-save, catch-up and compaction")
	flags.StringVar(&o.dir, "dir", "", "directory on a disk for the clusters' data (default: the system's temporary directory)")
	flags.StringVar(&o.repo, "repo", "", "repository to build from (default: found from the current directory)")
	flags.StringVar(&o.jsonFile, "json-file", "bench-compare.json", "where the raw figures go")
	return cmd
}

func (o *compareOptions) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	if err := o.complete(); err != nil {
		return usageError{err}
	}
	o.cfg.Progress = cmd.ErrOrStderr()
	work, err := compare.TempDir(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	o.cfg.Dir = work
	if err := o.prepareSides(ctx, work); err != nil {
		return err
	}
	disk, err := machine.ProbeDisk(work)
	if err != nil {
		return fmt.Errorf("%w; name another directory with --dir", err)
	}
	facts := machine.Learn(ctx, o.cfg.Proc, o.repo)
	// A program that was given may be older than the repository.
	facts.Commit = cmp.Or(o.cfg.A.Binary.Commit, facts.Commit)
	began := time.Now()
	samples, warnings, runErr := compare.Run(ctx, o.cfg)
	if len(samples) == 0 && runErr != nil {
		return runErr
	}
	report := compare.NewReport(o.cfg, began, facts, disk, samples, warnings, runErr)
	return errors.Join(runErr, writeTo(o.jsonFile, report.WriteJSON), report.WriteText(cmd.OutOrStdout()))
}

// complete checks the flags, all faults at once.
func (o *compareOptions) complete() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.cfg.Rounds >= 1 && o.cfg.Rounds <= maxRounds, "rounds must be between 1 and %d, not %d", maxRounds, o.cfg.Rounds)
	check(o.cfg.LoadedRounds >= 1 && o.cfg.LoadedRounds <= maxRounds, "loaded-rounds must be between 1 and %d, not %d", maxRounds, o.cfg.LoadedRounds)
	check(o.cfg.Kills >= 1 && o.cfg.Kills <= maxKills, "kills must be between 1 and %d, not %d", maxKills, o.cfg.Kills)
	check(o.jsonFile != "", "json-file must not be empty")
	rows, err := matchingRows(o.rows)
	o.cfg.Rows = rows
	faults = append(faults, err)
	for _, row := range rows {
		fault := errors.Join(row.Workload(min(o.cfg.Keys, o.cfg.LoadedKeys, o.cfg.EventKeys), o.cfg.ValueSizeBytes, o.cfg.Seed).Validate(),
			load.Config{Clients: max(1, row.Clients), Duration: o.cfg.Duration, Warmup: o.cfg.Warmup, Timeout: o.cfg.Timeout}.Validate())
		if fault != nil { // most likely the same one for all rows
			faults = append(faults, fault)
			break
		}
	}
	faults = append(faults, checkNodes(o.cfg.Nodes), checkProgram(o.aBin), checkProgram(o.bBin))
	if o.repo == "" {
		o.repo, err = compare.FindRepository(".")
		check(err == nil || o.aBin != "" && o.bBin != "", "%v: give --repo, or --a-bin and --b-bin", err)
	}
	o.cfg.Proc = os.DirFS("/proc")
	return errors.Join(faults...)
}

func checkNodes(nodes int) error {
	if nodes < 1 || nodes > maxNodes {
		return fmt.Errorf("nodes must be between 1 and %d, not %d", maxNodes, nodes)
	}
	return nil
}

// checkProgram takes "" for a program that is built.
func checkProgram(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}

func matchingRows(pattern string) ([]compare.Row, error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("rows is not a regular expression: %w", err)
	}
	var rows []compare.Row
	for _, row := range compare.Matrix() {
		if expression.MatchString(row.Name) {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("rows %q matches no row of the matrix", pattern)
	}
	return rows, nil
}

// prepareSides builds the programs that were not given and names both sides.
func (o *compareOptions) prepareSides(ctx context.Context, work string) error {
	sides := []struct {
		side           *compare.Side
		bin, name      string
		directory, pkg string
		output, suffix string
	}{
		{&o.cfg.A, o.aBin, o.aName, o.repo, "./cmd/raft-kv", "raft-kv", " (A)"},
		{&o.cfg.B, o.bBin, o.bName, filepath.Join(o.repo, "bench", "etcd"), ".", "etcd", " (B)"},
	}
	for _, s := range sides {
		path, err := filepath.Abs(s.bin)
		if err != nil {
			return fmt.Errorf("finding %s: %w", s.bin, err)
		}
		if s.bin == "" {
			path = filepath.Join(work, s.output)
			if err := compare.Build(ctx, s.directory, s.pkg, path); err != nil {
				return err
			}
		}
		if s.name == "" {
			s.name = filepath.Base(path)
		}
		*s.side = compare.Side{Name: s.name, Binary: machine.Inspect(path)}
	}
	if o.cfg.A.Name == o.cfg.B.Name {
		o.cfg.A.Name += sides[0].suffix
		o.cfg.B.Name += sides[1].suffix
	}
	return nil
}
