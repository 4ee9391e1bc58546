package node

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// turn makes whoever drives the core the only one. Most of what a core has to do
// is done in a few microseconds, and to wake another goroutine for it takes
// longer, so the goroutine that brings something (a frame, a command, the end of
// a write) sees to it itself. One that finds the core being driven leaves what it
// brings to whoever does.
type turn struct {
	sync.Mutex
	spare items         // reused, of those who drive
	more  chan struct{} // capacity 1: the ticker is to go on
}

func newTurn() turn { return turn{more: make(chan struct{}, 1)} }

// drive has the core look at what is new: now, or, if somebody is driving it,
// soon. It does not wait.
func (n *Node) drive() {
	n.inbox.fresh.Store(true)
	if n.turn.TryLock() {
		n.take()
		n.pass()
	}
}

// pass ends a turn. What has come meanwhile is left to the ticker's goroutine:
// clients and lanes that come by are not to serve all others. Whoever found the
// turn taken had made fresh true before, so nothing is overlooked.
func (n *Node) pass() {
	n.turn.Unlock()
	if n.inbox.fresh.Load() {
		select {
		case n.turn.more <- struct{}{}:
		default: // it has been told
		}
	}
}

// take hands the core what has come and carries out what it decides. The caller
// has the turn.
func (n *Node) take() {
	// A fault of the core ends the process, also on a goroutine of somebody who
	// goes on after a panic, as net/http does.
	defer func() {
		if fault := recover(); fault != nil {
			text := fmt.Sprintf("%v\n\n%s", fault, debug.Stack())
			go panic(text)
			select {}
		}
	}()
	full := n.inbox.take(n.turn.spare)
	n.deliver(&full)
	n.turn.spare = full.reset()
	n.round()
}

// ticks drives the core when time passes, and when others have left something
// to it.
func (n *Node) ticks() {
	ticker := time.NewTicker(n.cfg.TickInterval)
	defer ticker.Stop()
	n.drive()
	for {
		select {
		case <-n.stopping:
			n.turn.Lock() // for ever
			n.commitsDue.Stop()
			n.core.Stop()
			return
		case <-ticker.C:
			n.turn.Lock()
			n.core.Tick()
		case <-n.turn.more:
			n.turn.Lock()
		}
		n.take()
		n.pass()
	}
}
