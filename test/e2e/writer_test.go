package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// writer writes one key after the other until it is stopped. No write may fail.
type writer struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	acks   chan struct{} // one for each acknowledgement; bounded by acksMax

	acked   int           // what acknowledged has taken from acks
	longest time.Duration // valid once done is closed
	err     error         // likewise
}

const acksMax = 1 << 20

func startWriter(t *testing.T, client *clientv3.Client) *writer {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{t: t, cancel: cancel, done: make(chan struct{}), acks: make(chan struct{}, acksMax)}
	go func() {
		defer close(w.done)
		for n := 0; ctx.Err() == nil; n++ {
			before := time.Now()
			// The write that runs when the writer is stopped still ends.
			writing, done := context.WithTimeout(context.WithoutCancel(ctx), harness.Patience)
			_, err := client.Put(writing, fmt.Sprintf("written/%06d", n), "x")
			done()
			if err != nil {
				w.err = fmt.Errorf("write %d: %w", n, err)
				return
			}
			w.longest = max(w.longest, time.Since(before))
			w.acks <- struct{}{}
		}
	}()
	t.Cleanup(func() { w.cancel(); <-w.done })
	return w
}

// acknowledged waits until n writes are acknowledged.
func (w *writer) acknowledged(n int) {
	w.t.Helper()
	timer := time.NewTimer(harness.Patience)
	defer timer.Stop()
	for w.count() < n {
		select {
		case <-w.acks:
			w.acked++
		case <-w.done:
			if w.err != nil {
				w.t.Fatal(w.err)
			}
		case <-timer.C:
			w.t.Fatalf("%d of %d writes were acknowledged", w.count(), n)
		}
	}
}

// count is how many writes are known to be acknowledged.
func (w *writer) count() int {
	for {
		select {
		case <-w.acks:
			w.acked++
		default:
			return w.acked
		}
	}
}

// stop ends the writer and returns how long the slowest write took.
func (w *writer) stop() time.Duration {
	w.t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		w.t.Error(w.err)
	}
	return w.longest
}
