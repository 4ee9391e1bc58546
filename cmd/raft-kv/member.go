package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"raftkv/server"
)

func runMember(cmd *cobra.Command, opts *memberOptions) error {
	if opts.version {
		fmt.Fprintf(cmd.OutOrStdout(), "raft-kv Version: %s\netcd Version: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
			server.Version, server.EtcdVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	}
	opts, err := opts.resolve(os.Environ())
	if err != nil {
		return usageError{err}
	}
	if opts.memoryBytes == 0 {
		opts.memoryBytes = memoryBudget(1, goMemoryLimit(), groupMemoryLimit(os.DirFS("/")))
	}
	cfg, logs, err := opts.config()
	if err != nil {
		return usageError{err}
	}
	limitHeap(cfg)
	logger, done, err := logs.open(cmd.OutOrStdout(), cmd.ErrOrStderr())
	if err != nil {
		return usageError{err}
	}
	defer done()
	cfg.Logger = logger
	for _, n := range opts.notices {
		logger.Warn(n.msg, n.fields...)
	}
	if opts.forceNewCluster {
		if err := forceNewCluster(cmd.Context(), cfg); err != nil {
			return err
		}
	}
	governed := newGoverning(1, logger)
	defer governed.end()
	if logs.format == "console" {
		told := newStory(cmd.OutOrStdout())
		told.starting(cfg)
		cfg.OnEvent = told.event
		return serve(cmd.Context(), cfg, governed, func() { told.line("ready to serve client requests") })
	}
	return serveInLog(cmd.Context(), cfg, governed)
}

// serveInLog runs a member that says everything in its log.
func serveInLog(ctx context.Context, cfg server.Config, governed *governing) error {
	defer captureLibraries(cfg.Logger, os.Getenv("GODEBUG"), cfg.InitialCluster)()
	cfg.OnEvent = logStory(cfg.Logger)
	cfg.Logger.Info("starting", zap.String("name", cfg.Name), zap.String("version", server.Version), zap.String("etcd-version", server.EtcdVersion),
		zap.String("data-dir", cfg.DataDir), zap.Strings("listen-client-urls", cfg.ListenClientURLs), zap.Strings("listen-peer-urls", cfg.ListenPeerURLs))
	if err := serve(ctx, cfg, governed, func() { cfg.Logger.Info("ready to serve client requests") }); err != nil {
		cfg.Logger.Error("this member ends", zap.Error(err))
		return loggedError{err}
	}
	cfg.Logger.Info("stopped")
	return nil
}

// serve runs a member until ctx ends or the member stops by itself.
func serve(ctx context.Context, cfg server.Config, governed *governing, ready func()) error {
	s, err := server.Start(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for serving := s.Ready(); ; serving = nil {
		select {
		case <-serving:
			governed.started(s.SyncHoldsProcessor)
			ready()
		case <-ctx.Done():
			return s.Stop()
		case <-s.Done():
			return s.Stop()
		}
	}
}
