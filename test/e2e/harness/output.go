package harness

import (
	"bytes"
	"strings"
	"sync"
)

// Output collects what a process prints on one stream. Many goroutines may use
// it at once.
type Output struct {
	mu struct {
		sync.Mutex
		text    []byte
		lines   int
		changed chan struct{} // closed at the next write
	}
}

func newOutput() *Output {
	o := &Output{}
	o.mu.changed = make(chan struct{})
	return o
}

// Write appends to the text. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.text = append(o.mu.text, p...)
	o.mu.lines += bytes.Count(p, []byte{'\n'})
	close(o.mu.changed)
	o.mu.changed = make(chan struct{})
	return len(p), nil
}

// String is everything printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.mu.text)
}

// Lines are the complete lines printed so far, without their ends.
func (o *Output) Lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// Count is the number of complete lines printed so far.
func (o *Output) Count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.lines
}

// changed returns a channel that is closed at the next write.
func (o *Output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.changed
}

// tail is the end of the text, for the log of a failed test.
func (o *Output) tail(lines int) string {
	all := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	if skipped := len(all) - lines; skipped > 0 {
		all = append([]string{"…"}, all[skipped:]...)
	}
	return strings.Join(all, "\n")
}
