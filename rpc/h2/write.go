package h2

import (
	"runtime"
	"time"
)

// Bounds of what waits to be written (invariant 5).
const (
	outBytesMax   = 128 << 10 // handlers wait
	outBytesLimit = 4 << 20   // ends of requests wait; if the reader has queued it all: the client does not read
	outBytesKeep  = 256 << 10 // a larger buffer is given back
	// writeBytesSmall is a write that is worth waiting for company.
	writeBytesSmall = 1 << 10
	// writeTurnsMax is how many writes a handler does for others before it goes on.
	writeTurnsMax = 16
)

// unlockAndFlush releases mu and writes what is queued, unless somebody else
// does. It may wait for the client; the reader must not call it.
func (c *conn) unlockAndFlush() {
	if !c.due() {
		c.mu.Unlock()
		return
	}
	c.mu.writing = true
	company := len(c.mu.streams) > 0
	c.mu.Unlock()
	if company {
		runtime.Gosched() // handlers that are about to answer share the write
	}
	c.write()
}

// due tells whether somebody has to begin to write. The caller holds mu.
func (c *conn) due() bool {
	return !c.mu.writing && (len(c.mu.out) > c.mu.patientBytes || c.mu.drained && c.mu.leaving == nil)
}

// unlockAndSpawn releases mu and has what is queued written by a goroutine. The
// connection's reader must be running, or mu.ended be true.
func (c *conn) unlockAndSpawn() {
	if c.due() && !c.mu.ended {
		c.mu.writing = true
		c.server.readers.Go(c.write)
	}
	c.mu.Unlock()
}

// laterTime is how long the answer to a ping waits for company. Clients in Go
// ping with every few answers they get, to estimate their link: a write for each
// acknowledgement would double ours.
const laterTime = 10 * time.Millisecond

// unlockAndLater releases mu and leaves what is queued to the next answer, or to
// a timer, unless it has to be written anyway. Frames that the reader handles
// meanwhile do not hasten it: a client's ping comes between the frames of its
// next request. The timer is left alone once it runs, and may come early for a
// later one: to set a timer wakes a thread.
func (c *conn) unlockAndLater() {
	if !c.mu.timed {
		c.mu.timed = true
		if c.mu.timer == nil {
			c.mu.timer = time.AfterFunc(laterTime, c.overdue)
		} else {
			c.mu.timer.Reset(laterTime)
		}
	}
	c.mu.patientBytes = len(c.mu.out)
	c.mu.Unlock()
}

// overdue writes what no answer took along.
func (c *conn) overdue() {
	c.mu.Lock()
	c.mu.timed, c.mu.patientBytes = false, 0
	c.unlockAndSpawn()
}

// write writes until nothing is queued, or has a goroutine go on after its turns.
// Only who has set mu.writing calls it.
func (c *conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for turn := 0; len(c.mu.out) > c.mu.patientBytes; turn++ {
		if turn == writeTurnsMax && !c.mu.ended {
			c.server.readers.Go(c.write) // the reader is there still
			return
		}
		owed := c.owed.Load()
		b := c.mu.out
		c.mu.out, c.mu.spare, c.mu.patientBytes = c.mu.spare[:0], nil, 0
		c.mu.Unlock()
		_, err := c.net.Write(b)
		if err != nil {
			_ = c.net.Close() // the reader notices, and ends the requests
		}
		c.owed.Add(-owed) // not before: a client that reads nothing owes this, too
		c.mu.Lock()
		if cap(b) <= outBytesKeep {
			c.mu.spare = b
		}
		if err != nil {
			c.mu.out, c.mu.patientBytes = c.mu.out[:0], 0
		}
		c.wakeSenders()
		c.gather()
	}
	c.mu.writing = false
	if c.mu.silent != nil {
		close(c.mu.silent)
		c.mu.silent = nil
	}
	if c.mu.drained && !c.mu.ended && c.mu.leaving == nil {
		// The client closes the connection when it has read all. Were it closed here
		// with bytes of the client unread, our last answers could be lost.
		c.mu.leaving = time.AfterFunc(farewellTime, c.abort)
	}
}

// gather lets others add to a small write. The caller holds mu.
func (c *conn) gather() {
	if n := len(c.mu.out); n > 0 && n < writeBytesSmall && len(c.mu.streams) > 0 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
}

// wakeSenders tells handlers that wait that there may be room. The caller holds
// mu.
func (c *conn) wakeSenders() {
	for s := range c.mu.waiting {
		s.wakeSender()
	}
}

// control queues frames of the connection itself.
func (c *conn) control(add func(b []byte) []byte) {
	c.mu.Lock()
	defer c.unlockAndSpawn()
	if !c.mu.ended {
		c.owe(add(c.mu.out))
	}
}
