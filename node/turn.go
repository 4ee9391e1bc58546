package node

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// turn makes whoever drives the core the only one. Most of what a core has to do
// is done in a few microseconds, and to wake another goroutine for it takes
// longer, so the goroutine that brings something (a frame, a command, the end of
// a write) sees to it itself. One that finds the core being driven leaves what it
// brings to whoever does.
//
// Nothing is overlooked, because all accesses are sequentially consistent: one
// that brings something makes fresh true before it finds the turn taken, and
// whoever has it looks at fresh after it has let go.
type turn struct {
	taken atomic.Bool
	// fresh: something has come since the last take.
	fresh atomic.Bool
	// ticked: a tick is due. Ticks that pass while somebody drives count once.
	ticked atomic.Bool
	// ending: the ticker's goroutine wants the last turn.
	ending atomic.Bool
	more   chan struct{} // capacity 1: for the ticker's goroutine
	spare  items         // reused, of those who drive
}

func newTurn() turn { return turn{more: make(chan struct{}, 1)} }

// drive has the core look at what is new: now, or, if somebody is driving it,
// soon. It does not wait.
func (n *Node) drive() {
	n.turn.fresh.Store(true)
	if n.turn.taken.CompareAndSwap(false, true) {
		n.take()
		n.pass()
	}
}

// pass ends a turn. What has come meanwhile is left to the ticker's goroutine:
// clients and lanes that come by are not to serve all others.
func (n *Node) pass() {
	n.turn.taken.Store(false)
	if n.turn.fresh.Load() || n.turn.ending.Load() {
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
	n.turn.fresh.Store(false)
	if n.turn.ticked.Swap(false) {
		n.core.Tick()
	}
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
			n.turn.ending.Store(true)
			for !n.turn.taken.CompareAndSwap(false, true) { // and it is never passed on
				<-n.turn.more
			}
			n.commitsDue.Stop()
			n.core.Stop()
			return
		case <-ticker.C:
			n.turn.ticked.Store(true)
		case <-n.turn.more:
		}
		n.drive()
	}
}
