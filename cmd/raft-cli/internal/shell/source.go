package shell

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/peterh/liner"
)

// inputMaxBytes bounds a line, and what is given to a verb as its input. It is
// what a verb takes at most.
const inputMaxBytes = 64 << 20

// errInterrupted is the answer of a user who gave up a line.
var errInterrupted = errors.New("interrupted")

// source is where lines come from. One goroutine at a time uses it.
type source interface {
	// next returns the next line without its end, io.EOF behind the last one, or
	// errInterrupted.
	next(prompt string) (string, error)
	// remember makes a line one that the user can go back to.
	remember(line string)
	// close gives the terminal back as it was. It may be called while next is
	// under way.
	close() error
}

// terminal is a line editor.
type terminal struct {
	editor *liner.State
	// cooked is how the terminal was found, for the verbs; raw is for the editor.
	cooked, raw liner.ModeApplier
}

func openTerminal(complete liner.WordCompleter) (*terminal, error) {
	cooked, err := liner.TerminalMode()
	if err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	t := &terminal{editor: liner.NewLiner(), cooked: cooked}
	t.editor.SetCtrlCAborts(true)
	t.editor.SetMultiLineMode(true)
	t.editor.SetTabCompletionStyle(liner.TabPrints)
	t.editor.SetWordCompleter(complete)
	err = takeSignalKeys(int(os.Stdin.Fd()))
	if err == nil {
		t.raw, err = liner.TerminalMode()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the terminal: %w", err), t.editor.Close())
	}
	return t, cooked.ApplyMode()
}

func (t *terminal) next(prompt string) (string, error) {
	if err := t.raw.ApplyMode(); err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	text, err := t.editor.Prompt(prompt)
	if mode := t.cooked.ApplyMode(); mode != nil {
		err = errors.Join(err, mode)
	}
	if errors.Is(err, liner.ErrPromptAborted) {
		return "", errInterrupted
	}
	return text, err
}

func (t *terminal) remember(line string) { t.editor.AppendHistory(line) }

func (t *terminal) close() error { return t.editor.Close() }

// script is a file or a pipe.
type script struct{ lines *bufio.Reader }

func (s *script) next(string) (string, error) {
	var b strings.Builder
	for {
		part, err := s.lines.ReadSlice('\n')
		b.Write(part)
		switch {
		case b.Len() > inputMaxBytes:
			return "", fmt.Errorf("a line above %d bytes", inputMaxBytes)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && b.Len() > 0, err == nil:
			return strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\r"), nil
		default:
			return "", err
		}
	}
}

func (*script) remember(string) {}
func (*script) close() error    { return nil }
