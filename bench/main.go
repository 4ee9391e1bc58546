package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// garbagePercent lets the generator's small heap grow before it is collected:
// what the generator does not use, the servers beside it can.
const garbagePercent = 800

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var usage usageError
	if errors.As(err, &usage) {
		// Joined faults span lines; a usage error is one.
		text := strings.Join(strings.Split(usage.Error(), "\n"), "; ")
		fmt.Fprintf(stderr, "bench: %s (try --help)\n", text)
		return exitUsage
	}
	fmt.Fprintf(stderr, "bench: %v\n", err)
	return exitFailed
}

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "bench",
		Short:         "Measure raft-kv or etcd over etcd's gRPC API",
		Args:          noArguments,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(putCommand(), getCommand(), mixedCommand(), listCommand(),
		txnCommand(), txnMixedCommand(), stmCommand(), rangeCommand(), ycsbCommand(), watchCommand(), leaseGrantCommand(), leaseKeepAliveCommand(),
		compareCommand(), growCommand(), reportCommand())
	return root
}

// noArguments refuses arguments; of the root command that is an unknown
// command.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return usageError{fmt.Errorf("unknown command %q", args[0])}
	}
	return usageError{fmt.Errorf("%s takes no arguments, only flags: %q", cmd.CommandPath(), args[0])}
}
