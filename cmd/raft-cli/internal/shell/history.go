package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const (
	// historyMax lines are kept.
	historyMax = 1000
	// historyLineMaxBytes is the length above which a line is not kept.
	historyLineMaxBytes = 4096
	// historyFileMaxBytes is what a file within the bounds cannot exceed; of a
	// longer one the end is read.
	historyFileMaxBytes = 2 * historyMax * (historyLineMaxBytes + 1)
)

// HistoryPath is where the history is kept: in $XDG_STATE_HOME, else in
// ~/.local/state. It is empty if there is neither.
func HistoryPath(getenv func(string) string) string {
	state := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG specification: ignore it
		home := getenv("HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "raft-kv", "shell_history")
}

// history is the file of lines typed. Shells that run at the same time append
// to the same file.
type history struct {
	path  string
	last  string
	count int // lines in the file, as far as this shell knows
}

// openHistory makes the file if need be and returns the newest lines in it,
// oldest first.
func openHistory(path string) (*history, []string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, fmt.Errorf("the directory of the history: %w", err)
	}
	h := &history{path: path}
	lines, whole, err := h.read()
	if err != nil {
		return nil, nil, fmt.Errorf("the history: %w", err)
	}
	h.count = len(lines)
	if len(lines) > historyMax || !whole {
		lines = lines[max(0, len(lines)-historyMax):]
		if err := h.replace(lines); err != nil {
			return nil, nil, err
		}
	}
	if len(lines) > 0 {
		h.last = lines[len(lines)-1]
	}
	return h, lines, nil
}

// read returns the lines at the end of the file, and whether these are all.
func (h *history) read() (lines []string, whole bool, err error) {
	f, err := os.OpenFile(h.path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is not a file", h.path)
	}
	if info.Mode().Perm()&^fs.FileMode(0o600) != 0 { // made by somebody more trusting
		if err := f.Chmod(0o600); err != nil {
			return nil, false, err
		}
	}
	from := max(0, info.Size()-historyFileMaxBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, historyFileMaxBytes))
	if err != nil {
		return nil, false, err
	}
	if from > 0 { // the first line is cut
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimRight(l, "\r\n"); keepable(l) {
			lines = append(lines, l)
		}
	}
	return lines, from == 0, nil
}

// replace writes the file anew; a crash leaves the old one.
func (h *history) replace(lines []string) error {
	tmp, err := os.CreateTemp(filepath.Dir(h.path), ".shell_history-") // of mode 0600
	if err != nil {
		return fmt.Errorf("the history: %w", err)
	}
	_, err = tmp.WriteString(strings.Join(append(lines[:len(lines):len(lines)], ""), "\n"))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), h.path)
	}
	if err != nil {
		return fmt.Errorf("the history: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	h.count = len(lines)
	return nil
}

// add keeps a line, unless it is one that must not or need not be kept, and
// says whether it did.
func (h *history) add(text string) (kept bool, err error) {
	if !keepable(text) || sensitive(text) || text == h.last {
		return false, nil
	}
	h.last = text
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("the history: %w", err)
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("the history: %w", err)
	}
	if h.count++; h.count < 2*historyMax {
		return true, nil
	}
	lines, _, err := h.read()
	if err != nil {
		return true, fmt.Errorf("the history: %w", err)
	}
	return true, h.replace(lines[max(0, len(lines)-historyMax):])
}

// keepable is whether a line can be kept at all. One that begins with a blank
// is not, as in other shells: that is how a user keeps a line out.
func keepable(text string) bool {
	return text != "" && len(text) <= historyLineMaxBytes && utf8.ValidString(text) &&
		!strings.ContainsAny(text, "\r\n\x00") && text[0] != ' ' && text[0] != '\t'
}

// secretMarks are parts of the names of flags whose values are secret.
const secretMarks = "passw,pass-,secret,token,credential"

// sensitive is whether a line may hold a secret. It would rather forget a line
// too many, so a line that cannot be taken apart is judged by its letters.
func sensitive(text string) bool {
	l, err := split(text)
	if err != nil {
		return marked(text) || strings.Contains(text, "--user")
	}
	words := l.texts()
	for i, w := range words {
		name, value, given := strings.Cut(w, "=")
		switch {
		case !strings.HasPrefix(w, "-"):
		case marked(name):
			return true
		case name == "--user" && given && strings.Contains(value, ":"):
			return true
		case name == "--user" && i+1 < len(words) && strings.Contains(words[i+1], ":"):
			return true
		}
	}
	// user add NAME:PASSWORD and its like.
	return len(words) > 0 && words[0] == "user"
}

func marked(text string) bool {
	text = strings.ToLower(text)
	for mark := range strings.SplitSeq(secretMarks, ",") {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}
