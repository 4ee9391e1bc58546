package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"raftkv/cmd/raft-cli/internal/shell"
	"raftkv/cmd/raft-cli/internal/verb"
)

// version of the program.
const version = "0.1.0"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &verb.Session{
		In: stdin, Out: stdout, Err: stderr, Version: version,
		Interrupts: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		},
	}
	link := &connection{getenv: os.Getenv}
	s.Connect = link.client
	root := newRoot(s, link)
	root.AddCommand(shellCommand(s, link))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		if err := verb.CompleteFlags(root); err != nil {
			_, _ = fmt.Fprintln(stderr, err) // as below
			return 1
		}
	}
	cmd, err := root.ExecuteContextC(ctx)
	if closing := link.close(); closing != nil {
		err = errors.Join(err, &verb.Failure{Err: closing})
	}
	var shellEnded *shell.Ended
	if errors.As(err, &shellEnded) {
		return shellEnded.Code
	}
	if err != nil {
		// Nothing is left to report to if this fails.
		_, _ = fmt.Fprintln(stderr, verb.ErrorText(cmd, err))
	}
	return verb.ExitCode(err)
}
