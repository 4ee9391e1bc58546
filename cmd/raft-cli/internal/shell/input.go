package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

var errScriptInput = errors.New("a script gives a verb its input behind the line: write <<END at the end of the line, then the input, then END")

// input is what the verb of a line can read: the lines up to end, which are
// read before it begins; else, on a terminal, what the user types when it asks.
func (sh *Shell) input(ctx context.Context, end string) (io.Reader, error) {
	switch {
	case end != "":
		text, err := sh.until(ctx, end)
		return strings.NewReader(text), err
	case sh.cfg.Terminal:
		return &typed{ctx: ctx, sh: sh}, nil
	}
	return refusing{}, nil
}

const inputPrompt = "| "

// until reads the lines before the one that is end.
func (sh *Shell) until(ctx context.Context, end string) (string, error) {
	var b strings.Builder
	for {
		text, err := sh.next(ctx, inputPrompt)
		switch {
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("the input ended without a line %s", end)
		case err != nil:
			return "", err
		case text == end:
			return b.String(), nil
		case b.Len()+len(text) > inputMaxBytes:
			return "", fmt.Errorf("the input is above %d bytes", inputMaxBytes)
		}
		b.WriteString(text + "\n")
	}
}

// typed is input that the user types, ended by Ctrl-D at the beginning of a
// line.
type typed struct {
	ctx  context.Context
	sh   *Shell
	rest string
	err  error
}

func (t *typed) Read(p []byte) (int, error) {
	if t.rest == "" && t.err == nil {
		var text string
		text, t.err = t.sh.next(t.ctx, inputPrompt)
		switch {
		case t.err == nil:
			t.rest = text + "\n"
		case errors.Is(t.err, io.EOF):
			t.sh.report("")
		}
	}
	if t.rest == "" {
		return 0, t.err
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// refusing is the input of a verb in a script that was given none.
type refusing struct{}

func (refusing) Read([]byte) (int, error) { return 0, errScriptInput }
