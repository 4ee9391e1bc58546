package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

// Tally counts what runs asked and how it ended, so that a run that says
// nothing does not pass for one that found nothing. Several runs may share one.
type Tally struct {
	mu      sync.Mutex
	asked   map[Method]int
	done    map[Method]int
	refused map[string]int // by text
	known   map[Method]int // known differences
}

// NewTally returns an empty one.
func NewTally() *Tally {
	return &Tally{asked: map[Method]int{}, done: map[Method]int{}, refused: map[string]int{}, known: map[Method]int{}}
}

func (t *Tally) add(op Operation, a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked[op.Method]++
	if a.Code == codes.OK {
		t.done[op.Method]++
	} else {
		// gRPC's own refusals give sizes in brackets at the end.
		text, _, _ := strings.Cut(a.Text, " (")
		t.refused[text]++
	}
}

func (t *Tally) addKnown(m Method) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[m]++
}

// Done is how many operations of the method were asked and how many succeeded.
func (t *Tally) Done(m Method) (asked, done int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked[m], t.done[m]
}

// Refused is how many refusals had a text that contains the given one.
func (t *Tally) Refused(text string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for refusal, count := range t.refused {
		if strings.Contains(refusal, text) {
			n += count
		}
	}
	return n
}

// String lists everything.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, m := range slices.Sorted(maps.Keys(t.asked)) {
		fmt.Fprintf(&b, "%7d %s, %d succeeded\n", t.asked[m], m, t.done[m])
	}
	for _, text := range slices.Sorted(maps.Keys(t.refused)) {
		fmt.Fprintf(&b, "%7d refused: %s\n", t.refused[text], text)
	}
	for _, m := range slices.Sorted(maps.Keys(t.known)) {
		fmt.Fprintf(&b, "%7d known differences of %s\n", t.known[m], m)
	}
	return b.String()
}
