package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/cmd/raft-cli/internal/shell"
	"raftkv/cmd/raft-cli/internal/verb"
)

const shellLong = `Run many commands without leaving: at a prompt on a terminal, else from a script
on the standard input, one command a line.

A line is what stands behind raft-cli elsewhere, with quotes as in a shell: single
quotes take everything as it is, in double quotes \n, \x00 and the like stand for
the bytes that they name, # begins a comment. The flags of the shell hold for
every line. A verb that reads the standard input is given lines:

  txn <<END
  version("name") = "0"

  put name Alice
  END

At the prompt the tab key completes verbs, flags, keys and members, Ctrl-R
searches the history, Ctrl-C ends the verb that runs, and exit, quit or Ctrl-D the
shell. The history is in $XDG_STATE_HOME/raft-kv or ~/.local/state/raft-kv, without
lines that hold a password and those that begin with a blank.

A script goes on after a failure, unless --fail-fast is given, and ends with the
exit code of the first one.`

func shellCommand(s *verb.Session, link *connection) *cobra.Command {
	var failFast, noHistory bool
	cmd := &cobra.Command{
		Use: "shell", Short: "Run many commands: a prompt with history and completion, or a script",
		Long: shellLong, Args: cobra.NoArgs, GroupID: verb.OtherGroup, ValidArgsFunction: cobra.NoFileCompletions,
		Example: "  raft-cli shell\n  raft-cli shell --endpoints host1:8001,host2:8001\n  raft-cli shell --fail-fast < script",
	}
	cmd.Flags().BoolVar(&failFast, "fail-fast", false, "end a script at its first failure")
	cmd.Flags().BoolVar(&noHistory, "no-history", false, "neither read nor write the file of the history")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg := shell.Config{
			Session: s, Table: func() *cobra.Command { return newRoot(s, link) }, Flags: givenFlags(cmd.Root().PersistentFlags()),
			Terminal: onTerminal(s.In) && onTerminal(s.Out), FailFast: failFast,
		}
		if !noHistory {
			cfg.History = shell.HistoryPath(link.getenv)
		}
		ctx, stop := shellSignals(cmd.Context(), cfg.Terminal)
		defer stop()
		if cfg.Terminal {
			where, err := link.config()
			if err != nil {
				return &verb.UsageError{Err: err}
			}
			cfg.Prompt = promptOf(where.Endpoints)
			if _, err := fmt.Fprintf(s.Out, "raft-kv shell. %s\nhelp lists the verbs, Ctrl-D ends the shell.\n", s.Greeting(ctx)); err != nil {
				return &verb.Failure{Err: err}
			}
		}
		return shell.Run(ctx, cfg)
	}
	return cmd
}

// promptOf names the first endpoint and says how many more there are.
func promptOf(endpoints []string) string {
	_, host, found := strings.Cut(endpoints[0], "://")
	if !found {
		host = endpoints[0]
	}
	if more := len(endpoints) - 1; more > 0 {
		return fmt.Sprintf("%s (+%d)", host, more)
	}
	return host
}

// givenFlags are the shared flags of the command line, as they stand before
// every line of the shell.
func givenFlags(flags *pflag.FlagSet) []string {
	var given []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			given = append(given, "--"+f.Name+"="+f.Value.String())
		}
	})
	return given
}

// shellSignals lets signals end the shell; on a terminal an interrupt is for the
// verb that runs and otherwise nothing.
func shellSignals(ctx context.Context, terminal bool) (context.Context, context.CancelFunc) {
	if !terminal {
		return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	}
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP)
	return ctx, func() {
		stop()
		signal.Stop(ignored)
	}
}

func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
