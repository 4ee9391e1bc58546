package compactor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"raftkv/statemachine"
)

// fakeState has sweeps of some steps each.
type fakeState struct {
	mu        sync.Mutex
	steps     []time.Time
	limits    []int
	left      int   // steps of the sweep under way
	compacted int64 // what the sweep under way leads to
	swept     int64
	err       error
}

func (f *fakeState) compact(revision int64, steps int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compacted, f.left = revision, steps
}

func (f *fakeState) SweepStep(limit int) (bool, *statemachine.SweepReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false, nil, f.err
	}
	if f.left == 0 {
		return false, nil, nil
	}
	f.steps, f.limits = append(f.steps, time.Now()), append(f.limits, limit)
	if f.left--; f.left > 0 {
		return true, nil, nil
	}
	f.swept = f.compacted
	return true, &statemachine.SweepReport{Revision: f.compacted, Versions: 3, Hash: 7, HashKnown: true}, nil
}

func (f *fakeState) Swept() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swept
}

func (f *fakeState) LiveBytes() int64 { return 5 }

func newTestSweeper(t *testing.T, fatal func(error)) (*Sweeper, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	s, err := NewSweeper(SweeperConfig{BatchLimit: 20, SleepInterval: time.Second, Logger: zap.New(core), OnFatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	return s, logs
}

func TestSweeperPacesAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, logs := newTestSweeper(t, func(err error) { t.Error(err) })
		ctx, cancel := context.WithCancel(t.Context())
		state := &fakeState{}
		state.compact(8, 2) // left from before
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx, state) })
		if err := s.Await(ctx, 8); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		pass(time.Hour) // nothing to do
		state.compact(9, 3)
		s.Wake()
		s.Wake()
		began := time.Now()
		if err := s.Await(ctx, 9); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < time.Second || took > 2*time.Second {
			t.Errorf("three steps took %v", took)
		}
		if len(state.steps) != 5 || state.limits[0] != 20 {
			t.Errorf("steps at %v, limits %v", state.steps, state.limits)
		}
		finished := logs.FilterMessage("finished scheduled compaction").All()
		if len(finished) != 2 {
			t.Fatalf("logged %v", logs.All())
		}
		fields := finished[1].ContextMap()
		if fields["compact-revision"] != int64(9) || fields["hash"] != uint32(7) || fields["took"] != time.Since(began) {
			t.Errorf("logged %v", fields)
		}
		// One that is never reached ends with its context, or with the sweeper.
		short, cancelShort := context.WithTimeout(ctx, time.Minute)
		defer cancelShort()
		if err := s.Await(short, 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := s.Await(t.Context(), 10); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		waiting.Wait()
		running.Wait()
	})
}

func TestSweeperEndsOnError(t *testing.T) {
	for _, c := range []struct {
		err   error
		fatal bool
	}{{errors.New("disk on fire"), true}, {statemachine.ErrClosed, false}} {
		var got error
		s, _ := newTestSweeper(t, func(err error) { got = err })
		s.Run(t.Context(), &fakeState{err: c.err})
		if c.fatal != errors.Is(got, c.err) {
			t.Errorf("%v: told %v", c.err, got)
		}
		if err := s.Await(t.Context(), 1); !errors.Is(err, ErrStopped) {
			t.Errorf("%v: waiting ended with %v", c.err, err)
		}
	}
	if _, err := NewSweeper(SweeperConfig{BatchLimit: -1, SleepInterval: -1}); err == nil {
		t.Error("a faulty configuration was accepted")
	}
}

func TestPauses(t *testing.T) {
	free, err := NewSweeper(SweeperConfig{OnFatal: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	told, err := NewSweeper(SweeperConfig{SleepInterval: 7 * time.Millisecond, OnFatal: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	for _, tc := range []struct {
		s          *Sweeper
		step, want time.Duration
	}{{free, 2 * ms, 14 * ms}, {free, time.Second, pauseMax}, {told, 2 * ms, 7 * ms}} {
		if got := tc.s.pause(tc.step); got != tc.want {
			t.Errorf("after %v: %v, not %v", tc.step, got, tc.want)
		}
	}
}
