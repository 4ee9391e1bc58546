package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"raftkv/server"
)

func runMember(cmd *cobra.Command, opts *memberOptions) error {
	if opts.version {
		fmt.Fprintf(cmd.OutOrStdout(), "raft-kv Version: %s\netcd Version: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
			server.Version, server.EtcdVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	}
	cfg, err := opts.config()
	if err != nil {
		return usageError{err}
	}
	cfg.Logger, err = newLogger(opts.logFormat, opts.logLevel, opts.flags.Changed("log-level"), cmd.ErrOrStderr())
	if err != nil {
		return usageError{err}
	}
	ready := func() { cfg.Logger.Info("ready to serve client requests") }
	if opts.logFormat == "console" {
		told := newStory(cmd.OutOrStdout())
		told.starting(cfg)
		cfg.OnEvent = told.event
		ready = func() { told.line("ready to serve client requests") }
	} else {
		cfg.OnEvent = logStory(cfg.Logger)
	}
	return serve(cmd.Context(), cfg, ready)
}

// serve runs a member until ctx ends or the member stops by itself.
func serve(ctx context.Context, cfg server.Config, ready func()) error {
	s, err := server.Start(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	go func() {
		select {
		case <-s.Ready():
			ready()
		case <-s.Done():
		}
	}()
	select {
	case <-ctx.Done():
	case <-s.Done():
	}
	return s.Stop()
}
