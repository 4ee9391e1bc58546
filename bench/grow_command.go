package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/grow"
	"raftkv/bench/internal/machine"
)

type growOptions struct {
	cfg      grow.Config
	bin      string
	dir      string
	repo     string
	jsonFile string
}

func growCommand() *cobra.Command {
	o := &growOptions{}
	cmd := &cobra.Command{
		Use:   "grow",
		Short: "Measure raft-kv alone while its data grows",
		Long: "Builds raft-kv from source, or takes the program given, starts a cluster on this machine and fills it\n" +
			"through the native API: 0.1 million keys, then ten times as many, up to --keys-max. At each step it\n" +
			"measures what puts and linearizable gets cost, memory, disk and the restart after kill -9.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.bin, "a-bin", "", "program (default: built from ./cmd/raft-kv)")
	flags.IntVar(&o.cfg.Nodes, "nodes", 3, "nodes of the cluster")
	flags.IntVar(&o.cfg.KeysMax, "keys-max", 10_000_000, "keys of the last step")
	flags.DurationVar(&o.cfg.Duration, "duration", 5*time.Second, "length of a measured window")
	flags.DurationVar(&o.cfg.Warmup, "warmup", 2*time.Second, "load before each measured window")
	flags.DurationVar(&o.cfg.Timeout, "timeout", 30*time.Second, "time limit of an operation")
	flags.IntVar(&o.cfg.ValueSizeBytes, "value-size", 256, "bytes of a value")
	flags.Uint64Var(&o.cfg.Seed, "seed", 1, "decides keys and values")
	flags.StringVar(&o.dir, "dir", "", "directory on a disk for the cluster's data (default: the system's temporary directory)")
	flags.StringVar(&o.repo, "repo", "", "repository to build from (default: found from the current directory)")
	flags.StringVar(&o.jsonFile, "json-file", "bench-grow.json", "where the raw figures go")
	return cmd
}

func (o *growOptions) run(cmd *cobra.Command) (err error) {
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
	path, err := filepath.Abs(o.bin)
	if err != nil {
		return fmt.Errorf("finding %s: %w", o.bin, err)
	}
	if o.bin == "" {
		path = filepath.Join(work, "raft-kv")
		if err := compare.Build(ctx, o.repo, "./cmd/raft-kv", path); err != nil {
			return err
		}
	}
	o.cfg.Binary = machine.Inspect(path)
	disk, err := machine.ProbeDisk(work)
	if err != nil {
		return fmt.Errorf("%w; name another directory with --dir", err)
	}
	facts := machine.Learn(ctx, o.cfg.Proc, o.repo)
	facts.Commit = cmp.Or(o.cfg.Binary.Commit, facts.Commit)
	began := time.Now()
	steps, runErr := grow.Run(ctx, o.cfg)
	if len(steps) == 0 && runErr != nil {
		return runErr
	}
	report := grow.NewReport(o.cfg, began, facts, disk, steps, runErr)
	return errors.Join(runErr, writeTo(o.jsonFile, report.WriteJSON), report.WriteText(cmd.OutOrStdout()))
}

// complete checks the flags and derives what they leave open.
func (o *growOptions) complete() error {
	faults := []error{checkNodes(o.cfg.Nodes), checkProgram(o.bin), o.cfg.Validate()}
	if o.jsonFile == "" {
		faults = append(faults, errors.New("json-file must not be empty"))
	}
	if o.repo == "" {
		var err error
		if o.repo, err = compare.FindRepository("."); err != nil && o.bin == "" {
			faults = append(faults, fmt.Errorf("%w: give --repo or --a-bin", err))
		}
	}
	o.cfg.Proc = os.DirFS("/proc")
	return errors.Join(faults...)
}
