package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// Tally counts what runs asked and how it ended, so that a run that says
// nothing does not pass for one that found nothing. Several runs may share one.
type Tally struct {
	mu      sync.Mutex
	asked   map[Method]int
	done    map[Method]int
	refused map[string]int // by text
	// events are those of watches, previous those with a previous key value.
	events, previous int
}

// NewTally returns an empty one.
func NewTally() *Tally {
	return &Tally{asked: map[Method]int{}, done: map[Method]int{}, refused: map[string]int{}}
}

func (t *Tally) add(op Operation, a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	method, _, _ := op.Method.watches()
	t.asked[method]++
	for _, w := range a.Watched {
		t.watched(w)
	}
	if a.Code == codes.OK {
		t.done[method]++
	} else {
		// gRPC's own refusals give sizes in brackets at the end.
		text, _, _ := strings.Cut(a.Text, " (")
		t.refused[text]++
	}
}

// watched counts what came on a watch stream.
func (t *Tally) watched(w *pb.WatchResponse) {
	t.events += len(w.Events)
	for _, e := range w.Events {
		if e.PrevKv != nil {
			t.previous++
		}
	}
	switch {
	case w.Created && w.Canceled:
		t.refused["watch: "+w.CancelReason]++
	case w.CompactRevision != 0:
		t.refused["watch: compacted"]++
	}
}

// Events is how many events came on watch streams, and how many of them had the
// previous key value.
func (t *Tally) Events() (events, previous int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events, t.previous
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
	fmt.Fprintf(&b, "%7d events of watches, %d with the previous key value\n", t.events, t.previous)
	return b.String()
}
