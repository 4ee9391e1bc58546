package h2

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func newCall() *call { return &call{Context: context.Background()} }

func TestCallEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, began := newCall(), time.Now()
		c.mu.deadline = began.Add(time.Second)
		child, cancel := context.WithCancel(c)
		defer cancel()
		<-child.Done()
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		if err := errors.Join(c.Err(), child.Err()); !errors.Is(c.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Error(err)
		}
		c.end(context.Canceled) // only the first reason counts
		if !errors.Is(c.Err(), context.DeadlineExceeded) {
			t.Error(c.Err())
		}
	})
}

// A deadline is kept although nobody asked for a channel.
func TestCallErrLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall()
		c.mu.deadline = time.Now().Add(time.Second)
		if err := c.Err(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		select {
		case <-c.Done():
		default:
			t.Error("it is over and not done")
		}
	})
}

func TestCallBound(t *testing.T) {
	why := errors.New("why")
	for name, ask := range map[string]func(c *call) (ended func() bool){
		"nobody asks": func(c *call) func() bool { return func() bool { return c.Err() != nil } },
		"asked before": func(c *call) func() bool {
			done := c.Done()
			return func() bool { return isClosed(done) }
		},
		"to be told": func(c *call) func() bool {
			told := make(chan struct{})
			c.AfterFunc(func() { close(told) })
			return func() bool { return isClosed(told) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCall()
				ended := ask(c)
				c.Bound(time.Now().Add(2*time.Second), errors.New("too late to count"))
				c.Bound(time.Now().Add(time.Second), why)
				c.Bound(time.Now().Add(time.Hour), errors.New("later"))
				time.Sleep(time.Second)
				synctest.Wait()
				if !ended() || c.Cause() != why || !errors.Is(c.Err(), context.DeadlineExceeded) {
					t.Errorf("%v, %v, %v", ended(), c.Cause(), c.Err())
				}
			})
		})
	}
}

// What Bound has set goes with Lift, and the client's own deadline stays.
func TestCallLift(t *testing.T) {
	for name, own := range map[string]time.Duration{"no deadline of the client": 0, "a later one": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, began := newCall(), time.Now()
				if own > 0 {
					c.mu.deadline = began.Add(own)
				}
				done := c.Done()
				c.Bound(began.Add(time.Second), errors.New("why"))
				c.Lift()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if isClosed(done) || c.Err() != nil || c.Cause() != nil {
					t.Errorf("ended by what was lifted: %v, %v", c.Err(), c.Cause())
				}
				if d, ok := c.Deadline(); ok != (own > 0) || ok && !d.Equal(began.Add(own)) {
					t.Errorf("deadline %v, %v", d, ok)
				}
				if own == 0 {
					return
				}
				<-done
				if took := time.Since(began); took != own || c.Cause() != context.DeadlineExceeded {
					t.Errorf("ended after %v: %v", took, c.Cause())
				}
			})
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestCallAfterFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall()
		var ran [3]bool
		stop := c.AfterFunc(func() { ran[0] = true })
		c.AfterFunc(func() { ran[1] = true })
		if !stop() || stop() {
			t.Error("stop must tell whether it stopped something")
		}
		c.end(context.Canceled)
		c.AfterFunc(func() { ran[2] = true })
		synctest.Wait()
		if ran != [3]bool{false, true, true} {
			t.Error(ran)
		}
		if c.Cause() != context.Canceled {
			t.Error(c.Cause())
		}
	})
}
