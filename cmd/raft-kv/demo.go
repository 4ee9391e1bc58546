package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"raftkv/server"
)

// demoNodesMax keeps a typo from starting thousands of nodes.
const demoNodesMax = 99

type demoOptions struct {
	nodes, port int
	dataDir     string
	storage     string
}

func demoCommand() *cobra.Command {
	o := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster in this terminal",
		Args:  refuseArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().IntVar(&o.nodes, "nodes", 3, "number of nodes")
	cmd.Flags().IntVar(&o.port, "port", 8001, "port of the first node; the others follow")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "", "keep the data here (default: a temporary directory, removed at the end)")
	cmd.Flags().StringVar(&o.storage, "storage", "disk", `"disk" or "memory"`)
	return cmd
}

func (o *demoOptions) run(cmd *cobra.Command) error {
	switch {
	case o.nodes < 1 || o.nodes > demoNodesMax:
		return usageError{fmt.Errorf("--nodes must be between 1 and %d, not %d", demoNodesMax, o.nodes)}
	case o.port < 1 || o.port+o.nodes > 65536:
		return usageError{fmt.Errorf("--port %d leaves no room for %d nodes", o.port, o.nodes)}
	case o.storage != "disk" && o.storage != "memory":
		return usageError{fmt.Errorf(`--storage must be "disk" or "memory", not %q`, o.storage)}
	}
	dir := o.dataDir
	if dir == "" {
		temp, err := os.MkdirTemp("", "raft-kv-demo-")
		if err != nil {
			return fmt.Errorf("make a directory for the demo's data: %w", err)
		}
		defer os.RemoveAll(temp)
		dir = temp
	}
	told := newStory(cmd.OutOrStdout())
	told.line("Starting %d nodes; data in %s", o.nodes, dir)
	return o.runNodes(cmd, dir, told)
}

func (o *demoOptions) runNodes(cmd *cobra.Command, dir string, told *story) error {
	logger, done, err := logging{format: "console", level: "warn", levelGiven: true}.open(cmd.OutOrStdout(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var nodes, ready sync.WaitGroup
	errs := make([]error, o.nodes)
	members := make([]server.Config, o.nodes)
	for i := range members {
		members[i] = o.member(i, dir)
	}
	limitHeap(members...)
	governed := newGoverning(o.nodes, logger)
	defer governed.end()
	ready.Add(o.nodes)
	for i, cfg := range members {
		cfg.Logger = logger.With()
		mine := told.of(cfg.Name)
		cfg.OnEvent = mine.event
		mine.starting(cfg)
		nodes.Go(func() {
			once := sync.OnceFunc(ready.Done)
			defer once()
			if err := serve(ctx, cfg, governed, once); err != nil {
				errs[i] = fmt.Errorf("node %s: %w", cfg.Name, err)
				cancel()
			}
		})
	}
	go func() {
		ready.Wait()
		if ctx.Err() == nil {
			o.hint(told)
		}
	}()
	nodes.Wait()
	return errors.Join(errs...)
}

func (o *demoOptions) member(i int, dir string) server.Config {
	cfg := server.Config{
		Memory:            o.storage == "memory",
		MemoryBudgetBytes: memoryBudget(o.nodes, goMemoryLimit(), groupMemoryLimit(os.DirFS("/"))),
	}
	for j := range o.nodes {
		cfg.InitialCluster = append(cfg.InitialCluster, server.Member{
			Name: fmt.Sprint(j + 1), PeerURLs: []string{fmt.Sprintf("http://localhost:%d", o.port+j)},
		})
	}
	own := cfg.InitialCluster[i]
	cfg.Name = own.Name
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.ListenPeerURLs = own.PeerURLs, own.PeerURLs, own.PeerURLs
	cfg.DataDir = filepath.Join(dir, "node-"+cfg.Name)
	cfg.EnsureDefaults()
	return cfg
}

func (o *demoOptions) hint(told *story) {
	var endpoints []string
	for i := range o.nodes {
		endpoints = append(endpoints, fmt.Sprintf("localhost:%d", o.port+i))
	}
	told.line("The cluster is ready. In another terminal:")
	told.line("  export RAFTKV_ENDPOINTS=%s", strings.Join(endpoints, ","))
	told.line(`  go run ./cmd/raft-cli set name "Alice"`)
	told.line("  go run ./cmd/raft-cli get name")
	told.line("  go run ./cmd/raft-cli status")
	told.line("Ctrl-C stops it.")
}
