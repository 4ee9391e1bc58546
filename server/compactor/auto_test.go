package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// fakeCluster gains a revision a minute.
type fakeCluster struct {
	began time.Time

	mu        sync.Mutex
	follows   bool
	err       error
	compacted []string
}

func (f *fakeCluster) minutes() int64 { return int64(time.Since(f.began) / time.Minute) }

func (f *fakeCluster) Revision() int64 { return 1 + f.minutes() }

func (f *fakeCluster) Leads() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.follows
}

func (f *fakeCluster) set(follows bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.follows, f.err = follows, err
}

func (f *fakeCluster) Compact(_ context.Context, revision int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || errors.Is(f.err, statemachine.ErrCompacted) {
		f.compacted = append(f.compacted, fmt.Sprintf("%d at minute %d", revision, f.minutes()))
	}
	return f.err
}

// run runs a policy and calls steps, each after some minutes.
func run(t *testing.T, p Policy, steps map[int]func(*fakeCluster), minutes int, want ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{began: time.Now()}
		a, err := NewAuto(p, f, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { a.Run(ctx) })
		pass(time.Second) // between the ticks from now on
		for minute := range minutes {
			if step := steps[minute]; step != nil {
				step(f)
			}
			pass(time.Minute)
		}
		cancel()
		running.Wait()
		if !slices.Equal(f.compacted, want) {
			t.Errorf("compacted %q, want %q", f.compacted, want)
		}
	})
}

func TestAutoByTime(t *testing.T) {
	t.Run("an hour", func(t *testing.T) {
		run(t, Policy{Period: time.Hour}, nil, 185, "1 at minute 60", "61 at minute 120", "121 at minute 180")
	})
	t.Run("ten minutes", func(t *testing.T) {
		run(t, Policy{Period: 10 * time.Minute}, nil, 25, "1 at minute 10", "11 at minute 20")
	})
	t.Run("three hours are looked at every hour", func(t *testing.T) {
		run(t, Policy{Period: 3 * time.Hour}, nil, 305, "1 at minute 180", "61 at minute 240", "121 at minute 300")
	})
	t.Run("a new leader goes on", func(t *testing.T) {
		run(t, Policy{Period: time.Hour}, map[int]func(*fakeCluster){
			0:  func(f *fakeCluster) { f.set(true, nil) },
			95: func(f *fakeCluster) { f.set(false, nil) },
		}, 100, "37 at minute 96")
	})
	t.Run("a failure is tried again", func(t *testing.T) {
		run(t, Policy{Period: time.Hour}, map[int]func(*fakeCluster){
			0:  func(f *fakeCluster) { f.set(false, errors.New("no quorum")) },
			65: func(f *fakeCluster) { f.set(false, statemachine.ErrCompacted) },
		}, 130, "7 at minute 66", "67 at minute 126")
	})
}

func TestAutoByRevisions(t *testing.T) {
	run(t, Policy{Revisions: 10}, map[int]func(*fakeCluster){
		22: func(f *fakeCluster) { f.set(true, nil) },
		28: func(f *fakeCluster) { f.set(false, nil) },
	}, 32, "1 at minute 10", "6 at minute 15", "11 at minute 20", "21 at minute 30")
}

func TestPolicy(t *testing.T) {
	run(t, Policy{}, nil, 200)
	for _, p := range []Policy{{Period: -1}, {Revisions: -1}, {Period: time.Hour, Revisions: 1}, {Period: 1}} {
		if _, err := NewAuto(p, nil, nil); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}
