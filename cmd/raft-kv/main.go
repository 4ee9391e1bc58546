package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"raftkv/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitRemoved: the cluster has removed this member; starting it again is of no
	// use.
	exitRemoved = 3
)

// usageError marks errors that the user mends by other flags.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// loggedError marks errors that the log has told already.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var logged loggedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "raft-kv: %v\n", err)
		fmt.Fprintln(stderr, "raft-kv --help lists the flags.")
		return exitUsage
	case errors.As(err, &logged):
		return failureCode(err)
	default:
		fmt.Fprintf(stderr, "raft-kv: %v\n", err)
		return failureCode(err)
	}
}

func failureCode(err error) int {
	if errors.Is(err, server.ErrRemoved) {
		return exitRemoved
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	opts := &memberOptions{}
	root := &cobra.Command{
		Use:   "raft-kv",
		Short: "A replicated, linearizable key-value store that speaks the etcd v3 API",
		Example: `  raft-kv demo --nodes 3
  raft-kv --id 1 --cluster localhost:8001,localhost:8002,localhost:8003`,
		Args:          refuseArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return runMember(cmd, opts) },
	}
	opts.register(root.Flags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(demoCommand(), recoverCommand())
	return root
}

func refuseArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}
