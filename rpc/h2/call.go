package h2

import (
	"context"
	"sync"
	"time"
)

// call is the context of one request. Channel and timer come into being when
// somebody asks for them: most requests are over before their deadline, and
// many never ask.
type call struct {
	context.Context // values only

	mu struct {
		sync.Mutex
		deadline time.Time // the client's; zero: none
		limit    time.Time // of Bound, before deadline; zero: none
		cause    error     // what the end of limit is called
		late     error     // the cause, once limit has passed
		done     chan struct{}
		timer    *time.Timer
		err      error
		after    map[*func()]struct{}
	}
}

// Deadline implements context.Context.
func (c *call) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.dueLocked()
	return d, !d.IsZero()
}

// dueLocked is when the request ends, whoever says so; zero: nobody does.
func (c *call) dueLocked() time.Time {
	if !c.mu.limit.IsZero() {
		return c.mu.limit
	}
	return c.mu.deadline
}

// Bound lets the request end at a time, if it would not end earlier, until Lift
// takes that back. It is what context.WithDeadlineCause does, without another
// context; Cause tells the reason.
func (c *call) Bound(deadline time.Time, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if due := c.dueLocked(); !due.IsZero() && !deadline.Before(due) {
		return
	}
	c.mu.limit, c.mu.cause = deadline, cause
	c.retime()
}

// Lift takes back what Bound has set, unless it has ended the request.
func (c *call) Lift() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.limit.IsZero() || c.mu.err != nil {
		return
	}
	c.mu.limit, c.mu.cause = time.Time{}, nil
	c.retime()
}

// retime makes the timer fire when the request is due, if anybody waits for that.
// The caller holds mu.
func (c *call) retime() {
	switch due := c.dueLocked(); {
	case c.mu.timer != nil && due.IsZero():
		c.mu.timer.Stop()
		c.mu.timer = nil
	case c.mu.timer != nil:
		c.mu.timer.Reset(time.Until(due))
	case c.mu.done != nil || len(c.mu.after) > 0:
		c.watch()
	}
}

// Cause is the one given to Bound once that deadline has passed, else Err.
func (c *call) Cause() error {
	err := c.Err()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == context.DeadlineExceeded && c.mu.late != nil {
		return c.mu.late
	}
	return err
}

// Done implements context.Context.
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.done == nil {
		c.mu.done = make(chan struct{})
		if c.mu.err != nil {
			close(c.mu.done)
		}
		c.watch()
	}
	return c.mu.done
}

// watch starts the timer if one is needed. The caller holds mu.
func (c *call) watch() {
	if due := c.dueLocked(); c.mu.timer == nil && c.mu.err == nil && !due.IsZero() {
		c.mu.timer = time.AfterFunc(time.Until(due), c.expire)
	}
}

// Err implements context.Context.
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	return c.mu.err
}

// expire is called by the timer. One that was set for a limit that is lifted
// comes too early.
func (c *call) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
}

func (c *call) expireLocked() {
	if due := c.dueLocked(); c.mu.err == nil && !due.IsZero() && !time.Now().Before(due) {
		c.mu.late = c.mu.cause
		c.endLocked(context.DeadlineExceeded)
	}
}

// AfterFunc has f run in a goroutine of its own when the request ends. Package
// context looks for this method, and spares a goroutine for each context that is
// derived from this one.
func (c *call) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.mu.after == nil {
		c.mu.after = map[*func()]struct{}{}
	}
	key := &f
	c.mu.after[key] = struct{}{}
	c.watch()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.mu.after[key]
		delete(c.mu.after, key)
		return waiting
	}
}

// end ends the request; only the first reason counts.
func (c *call) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(why)
}

func (c *call) endLocked(why error) {
	if c.mu.err != nil {
		return
	}
	c.mu.err = why
	if c.mu.done != nil {
		close(c.mu.done)
	}
	if c.mu.timer != nil {
		c.mu.timer.Stop()
	}
	for f := range c.mu.after {
		go (*f)()
	}
	c.mu.after = nil
}
