package sim

import (
	"container/heap"
	"time"
)

// clock is virtual time and the heap of what is going to happen. Events of the
// same moment run in the order in which they were scheduled.
type clock struct {
	now    time.Duration
	next   uint64
	events eventHeap
}

type event struct {
	at  time.Duration
	seq uint64
	run func()
}

// after schedules run d from now.
func (c *clock) after(d time.Duration, run func()) {
	c.next++
	heap.Push(&c.events, event{at: c.now + d, seq: c.next, run: run})
}

// step runs the next event, unless it lies beyond until or there is none.
func (c *clock) step(until time.Duration) bool {
	if len(c.events) == 0 || c.events[0].at > until {
		return false
	}
	e := heap.Pop(&c.events).(event)
	c.now = e.at
	e.run()
	return true
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}
