package shell

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"raftkv/cmd/raft-cli/internal/verb"
)

// complete offers the words that may stand where the cursor does: pos is in
// characters.
func (sh *Shell) complete(ctx context.Context, text string, pos int) (head string, offers []string, tail string) {
	runes := []rune(text)
	before, tail := string(runes[:pos]), string(runes[pos:])
	l, err := scan(before)
	if err != nil || l.end != "" {
		return before, nil, tail
	}
	typed, start := "", len(before)
	words := l.words
	if n := len(words); n > 0 && (words[n-1].open || !strings.HasSuffix(before, " ")) {
		typed, start = words[n-1].text, words[n-1].start
		words = words[:n-1]
	}
	for _, offer := range sh.offers(ctx, line{words: words}.texts(), typed) {
		offers = append(offers, quote(offer))
	}
	if len(offers) == 1 && !strings.HasSuffix(offers[0], "=") {
		offers[0] += " "
	}
	return before[:start], offers, tail
}

// offers asks the command line as bash would.
func (sh *Shell) offers(ctx context.Context, words []string, typed string) []string {
	var out bytes.Buffer
	root := sh.table()
	if err := verb.CompleteFlags(root); err != nil {
		return nil
	}
	args := append([]string{cobra.ShellCompNoDescRequestCmd}, sh.cfg.Flags...)
	root.SetArgs(append(append(args, words...), typed))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	if err := root.ExecuteContext(ctx); err != nil {
		return nil // nobody asked for messages
	}
	var found []string
	for l := range strings.Lines(out.String()) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, ":") { // what bash should do besides
			break
		}
		if strings.HasPrefix(l, typed) {
			found = append(found, l)
		}
	}
	if len(words) == 0 {
		for _, end := range []string{"exit", "quit"} {
			if strings.HasPrefix(end, typed) {
				found = append(found, end)
			}
		}
		slices.Sort(found)
	}
	return found
}
