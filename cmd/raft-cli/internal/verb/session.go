package verb

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/client"
)

// inputMax bounds a value or a transaction read from In, in bytes. It is above
// what any server takes, which keeps the server's own limit the one that counts.
const inputMax = 64 << 20

// Session is what verbs work with.
type Session struct {
	In       io.Reader
	Out, Err io.Writer
	// Connect returns the client. It is called when a verb needs it, so that
	// verbs which need none work without a cluster.
	Connect func() (*client.Client, error)
	// Interrupts returns a context that also ends when the user interrupts, and
	// a function that ends the watch. It is used only while a request is under
	// way: before, an interrupt may end the process as it pleases.
	Interrupts func(context.Context) (context.Context, context.CancelFunc)
	// Version of the program.
	Version string

	// Set by the flags of RegisterFlags.
	format  format
	hex     bool
	timeout time.Duration
}

// RegisterFlags defines the flags that all verbs share.
func (s *Session) RegisterFlags(flags *pflag.FlagSet) {
	s.format = formatSimple
	flags.VarP(&s.format, "write-out", "w", "output format: simple (or text), json or table")
	flags.BoolVar(&s.hex, "hex", false, "keys and values are given and printed in hexadecimal")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "how long a command may take")
}

// Commands returns all verbs, made anew: a command keeps the flags of the line
// that it has executed, so the next line needs others.
func Commands(s *Session) []*cobra.Command {
	return grouped([]*cobra.Command{
		setCommand(s), getCommand(s), delCommand(s), appendCommand(s), casCommand(s), txnCommand(s),
		statusCommand(s), membersCommand(s), memberCommand(s), moveLeaderCommand(s), compactCommand(s), defragCommand(s), alarmCommand(s), leaseReadsCommand(s), versionCommand(s),
		snapshotCommand(s), importCommand(s), verifyCommand(s), walCommand(s),
		watchCommand(s), leaseCommand(s), lockCommand(s), electCommand(s),
	})
}

// Failure is the error of a verb that was understood and did not succeed.
type Failure struct{ Err error }

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// UsageError is a request that makes no sense. Nothing was sent.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// ExitCode is what a process should end with after a verb returned err.
func ExitCode(err error) int {
	var f *Failure
	var command *CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &command):
		return command.Code
	case errors.As(err, &f):
		return 1
	default:
		return 2
	}
}

// request is what a verb sends, and what it does with the answer.
type request func(ctx context.Context, c *client.Client) error

// command makes a verb that needs a client. prepare turns the arguments and
// what it reads from In into a request; until then nothing is connected and no
// time limit runs.
func (s *Session) command(use, short string, args cobra.PositionalArgs, prepare func(args []string) (request, error)) *cobra.Command {
	return s.commandWithin(func(*cobra.Command) bool { return true }, use, short, args, prepare)
}

// unlimitedCommand is command for what may take long: a time limit holds only
// if one was given.
func (s *Session) unlimitedCommand(use, short string, args cobra.PositionalArgs, prepare func(args []string) (request, error)) *cobra.Command {
	given := func(cmd *cobra.Command) bool { return cmd.Flags().Changed("timeout") }
	return s.commandWithin(given, use, short, args, prepare)
}

func (s *Session) commandWithin(limited func(*cobra.Command) bool, use, short string, args cobra.PositionalArgs,
	prepare func(args []string) (request, error)) *cobra.Command {
	return &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              args,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.timeout <= 0 {
				return usagef("--timeout %v is not positive", s.timeout)
			}
			send, err := prepare(args)
			if err != nil {
				return failure(err)
			}
			c, err := s.Connect()
			if err != nil {
				return failure(err)
			}
			ctx, stop := s.Interrupts(cmd.Context())
			defer stop()
			if limited(cmd) {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, s.timeout)
				defer cancel()
			}
			return failure(send(ctx, c))
		},
	}
}

// failure marks err as one of a verb that was understood, unless it says
// otherwise.
func failure(err error) error {
	var u *UsageError
	if err == nil || errors.As(err, &u) {
		return err
	}
	return &Failure{err}
}

// bytes reads a key, or a value that is not taken from In.
func (s *Session) bytes(arg string) ([]byte, error) {
	if !s.hex {
		return []byte(arg), nil
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return nil, usagef("%q is not hexadecimal, as --hex wants it", arg)
	}
	return b, nil
}

// value reads a value; "-" stands for all of In, byte for byte also with --hex.
func (s *Session) value(arg string) ([]byte, error) {
	if arg != "-" {
		return s.bytes(arg)
	}
	return s.input()
}

// input reads all of In.
func (s *Session) input() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(s.In, inputMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the standard input: %w", err)
	case len(b) > inputMax:
		return nil, fmt.Errorf("the standard input is above %d bytes", inputMax)
	}
	return b, nil
}

// keyAndValue reads the arguments of a write.
func (s *Session) keyAndValue(args []string) (key, value []byte, err error) {
	if key, err = s.bytes(args[0]); err != nil {
		return nil, nil, err
	}
	value, err = s.value(args[1])
	return key, value, err
}

// text is how keys and values are shown: as they are, or in hexadecimal.
func (s *Session) text(b []byte) string {
	if s.hex {
		return hex.EncodeToString(b)
	}
	return string(b)
}

// cell is a key or a value that cannot disturb a table.
func (s *Session) cell(b []byte) string { return cell(s.text(b)) }

func cell(text string) string {
	if printable(text) {
		return text
	}
	return strconv.Quote(text)
}

// quote is text for a message, shortened.
func (s *Session) quote(b []byte) string {
	const shownMax = 64
	rest := ""
	if len(b) > shownMax {
		b, rest = b[:shownMax], "…"
	}
	if s.hex {
		return hex.EncodeToString(b) + rest
	}
	return strconv.Quote(string(b)) + rest
}

func printable(t string) bool {
	return utf8.ValidString(t) && strings.IndexFunc(t, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// getCall is the command that shows all about key, to be typed in a shell.
func (s *Session) getCall(key []byte) string {
	const get = "raft-cli get -w json "
	switch {
	case s.hex || !printable(string(key)):
		return get + "--hex " + hex.EncodeToString(key)
	case len(key) == 0 || key[0] == '-' || bytes.ContainsAny(key, " \"'\\$`!*?[](){}<>|&;#~"):
		return get + "-- '" + strings.ReplaceAll(string(key), "'", `'\''`) + "'"
	}
	return get + string(key)
}

// explain adds to the error of a write of unknown outcome how to find out.
func (s *Session) explain(err error, key []byte) error {
	if !errors.Is(err, client.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w\nto find out: `%s` shows the key with its version and the revision that last changed it", err, s.getCall(key))
}

// remark writes a line beside the output.
func (s *Session) remark(format string, args ...any) error {
	if _, err := fmt.Fprintf(s.Err, format+"\n", args...); err != nil {
		return fmt.Errorf("writing a remark: %w", err)
	}
	return nil
}
