package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

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
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	cmd, err := root.ExecuteContextC(ctx)
	if closing := link.close(); closing != nil {
		err = errors.Join(err, &verb.Failure{Err: closing})
	}
	code := verb.ExitCode(err)
	if err != nil {
		// Nothing is left to report to if this fails.
		_, _ = fmt.Fprintln(stderr, err)
	}
	if code == 2 {
		if cmd.HasParent() {
			_, _ = fmt.Fprintf(stderr, "usage: %s\n", cmd.UseLine())
		}
		_, _ = fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}
