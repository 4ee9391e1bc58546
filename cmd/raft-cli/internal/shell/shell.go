package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"raftkv/cmd/raft-cli/internal/verb"
)

// Config is what a shell needs.
type Config struct {
	// Session is what the verbs of Table work with; the shell sets its In.
	Session *verb.Session
	// Table makes the command line, anew for every line.
	Table func() *cobra.Command
	// Flags stand before every line: those the shell was started with.
	Flags []string
	// Terminal is whether the standard streams of the process are one, which the
	// line editor takes. Otherwise lines come from Session.In.
	Terminal bool
	// Prompt is shown on a terminal.
	Prompt string
	// History is the file of the history, empty for none.
	History string
	// FailFast ends a script at its first failure.
	FailFast bool
}

// Ended is how a shell ends in which lines have failed. They were reported when
// they did.
type Ended struct{ Code int }

func (e *Ended) Error() string { return fmt.Sprintf("a line ended with exit code %d", e.Code) }

// Shell runs command lines.
type Shell struct {
	cfg     Config
	from    source
	history *history // nil: none is kept
	number  int      // of the line, for scripts
}

// Run executes lines until their end, exit, or the end of ctx. A script in
// which a line failed ends in an Ended, as does one that ctx has ended.
func Run(ctx context.Context, cfg Config) (err error) {
	sh := &Shell{cfg: cfg}
	if err := sh.open(ctx); err != nil {
		return &verb.Failure{Err: err}
	}
	defer func() {
		if closing := sh.from.close(); closing != nil && err == nil {
			err = &verb.Failure{Err: fmt.Errorf("the terminal: %w", closing)}
		}
	}()
	first := 0 // exit code of the first failure
	for {
		text, err := sh.next(ctx, sh.cfg.Prompt+"> ")
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, io.EOF):
			if cfg.Terminal {
				sh.report("") // leave the line of the prompt
				return nil
			}
			return ended(first)
		case err != nil && ctx.Err() != nil:
			return ended(1)
		case err != nil:
			return &verb.Failure{Err: fmt.Errorf("reading the next line: %w", err)}
		}
		code, done := sh.execute(ctx, text)
		if first == 0 && !cfg.Terminal {
			first = code
		}
		if done || first > 0 && cfg.FailFast {
			return ended(first)
		}
	}
}

func ended(code int) error {
	if code == 0 {
		return nil
	}
	return &Ended{Code: code}
}

func (sh *Shell) open(ctx context.Context) error {
	if !sh.cfg.Terminal {
		sh.from = &script{lines: bufio.NewReader(sh.cfg.Session.In)}
		return nil
	}
	t, err := openTerminal(func(text string, pos int) (string, []string, string) { return sh.complete(ctx, text, pos) })
	if err != nil {
		return err
	}
	sh.from = t
	if sh.cfg.History == "" {
		return nil
	}
	h, lines, err := openHistory(sh.cfg.History)
	if err != nil {
		sh.report("(no history is kept: %v)", err)
		return nil
	}
	sh.history = h
	for _, l := range lines {
		t.remember(l)
	}
	return nil
}

// next waits for a line or the end of ctx.
func (sh *Shell) next(ctx context.Context, prompt string) (string, error) {
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := sh.from.next(prompt)
		replies <- reply{text, err}
	}()
	select {
	case r := <-replies:
		sh.number++
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// execute runs one line and tells its exit code, and whether the shell is done.
func (sh *Shell) execute(ctx context.Context, text string) (code int, done bool) {
	sh.keep(text)
	place := sh.place()
	l, err := split(text)
	if err != nil {
		sh.report("%s%v", place, err)
		return 2, false
	}
	words := l.texts()
	if len(words) == 0 {
		return 0, false
	}
	if words[0] == "exit" || words[0] == "quit" {
		if len(words) == 1 {
			return 0, true
		}
		sh.report("%s%s takes no arguments", place, words[0])
		return 2, false
	}
	in, err := sh.input(ctx, l.end)
	if err != nil {
		if !errors.Is(err, errInterrupted) {
			sh.report("%s%v", place, err)
		}
		return 1, false
	}
	sh.cfg.Session.In = in
	root := sh.table()
	root.SetArgs(append(append([]string{}, sh.cfg.Flags...), words...))
	cmd, err := root.ExecuteContextC(ctx)
	code = verb.ExitCode(err)
	if err != nil && !errors.Is(err, errInterrupted) {
		sh.report("%s%s", place, clean(verb.ErrorText(cmd, err)))
	}
	return code, ctx.Err() != nil
}

// keep puts a line into the history.
func (sh *Shell) keep(text string) {
	if sh.history == nil {
		return
	}
	kept, err := sh.history.add(text)
	if err != nil {
		sh.report("(no history is kept any more: %v)", err)
		sh.history = nil
	}
	if kept {
		sh.from.remember(text)
	}
}

// place is where a script is.
func (sh *Shell) place() string {
	if sh.cfg.Terminal {
		return ""
	}
	return fmt.Sprintf("line %d: ", sh.number)
}

func (sh *Shell) report(format string, args ...any) {
	// Nothing is left to report to if this fails.
	_, _ = fmt.Fprintf(sh.cfg.Session.Err, format+"\n", args...)
}

// table is the command line as a shell shows it: its own name is not typed.
func (sh *Shell) table() *cobra.Command {
	root := sh.cfg.Table()
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: ""}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(sh.cfg.Session.Out)
	root.SetErr(sh.cfg.Session.Err)
	plain(root, root.Name()+" ")
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			sh.list(root)
			return
		}
		help(cmd, args)
	})
	root.SetUsageTemplate(strings.NewReplacer("{{.UseLine}}", "{{trim .UseLine}}", "{{.CommandPath}}", "{{trim .CommandPath}}").Replace(root.UsageTemplate()))
	return root
}

// plain takes the program's name out of the examples.
func plain(cmd *cobra.Command, name string) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "  "+name, "  ")
	for _, c := range cmd.Commands() {
		plain(c, name)
	}
}

// clean takes out what cobra leaves of the program's empty name.
func clean(text string) string {
	return strings.NewReplacer(` for ""`, "", ` for " `, ` for "`).Replace(text)
}

// list is what help says without the name of a verb.
func (sh *Shell) list(root *cobra.Command) {
	var b strings.Builder
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "%s\n", g.Title)
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-12s %s\n", c.Name(), c.Short)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("help VERB tells more about one. Every line takes the flags of raft-cli, such as -w json.\n" +
		"A verb that reads the standard input, such as txn, can be given lines: txn <<END, the lines, END.\n" +
		"Ctrl-C ends the verb that runs; exit, quit or Ctrl-D ends the shell.\n")
	_, _ = io.WriteString(sh.cfg.Session.Out, b.String()) // as with report
}
