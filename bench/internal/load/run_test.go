package load

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted answers operation n, counted over all clients, after a delay that
// the test chooses. Inside a synctest bubble the delay is virtual.
type scripted struct {
	kinds   []string
	started atomic.Int64
	answer  func(n int64) (kind int, delay time.Duration, err error)
}

func (s *scripted) Kinds() []string { return s.kinds }

func (s *scripted) NewClient(int) Op {
	return func(ctx context.Context) (int, error) {
		kind, delay, err := s.answer(s.started.Add(1) - 1)
		if !waitUntil(ctx, time.Now().Add(delay)) {
			return kind, ctx.Err()
		}
		return kind, err
	}
}

func (s *scripted) ErrorClass(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "refused"
}

func constantDelay(delay time.Duration) *scripted {
	return &scripted{kinds: []string{"op"}, answer: func(int64) (int, time.Duration, error) {
		return 0, delay, nil
	}}
}

// within allows for the histogram's 0.1 %.
func within(t *testing.T, what string, got, want int64) {
	t.Helper()
	if diff := got - want; diff < -want/500-1 || diff > want/500+1 {
		t.Errorf("%s = %d, want about %d", what, got, want)
	}
}

func TestClosedLoopCountsWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, err := Run(t.Context(), Config{
			Clients: 10, Warmup: time.Second, Duration: 4 * time.Second, Timeout: time.Second,
		}, constantDelay(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		// 10 clients at 100/s each; the answer that arrives exactly at the
		// window's start is inside, the one at its end outside.
		if res.Completed != 4000 || res.ThroughputPerSecond != 1000 {
			t.Errorf("completed %d at %v/s, want 4000 at 1000/s", res.Completed, res.ThroughputPerSecond)
		}
		if res.Latency.Count != 4000 || res.Unsent != 0 || res.ErrorTotal() != 0 {
			t.Errorf("unexpected result %+v", res)
		}
		within(t, "p50", res.Latency.P50US, 10_000)
		within(t, "max", res.Latency.MaxUS, 10_000)
	})
}

// A server that stalls for two seconds: the closed loop sees a handful of slow
// operations, the open loop charges the stall to everything that was due.
func TestOpenLoopChargesStallToAllDueOperations(t *testing.T) {
	const stall = 2 * time.Second
	stallOnce := func() *scripted {
		var stallUntil time.Time
		begin := time.Now().Add(time.Second)
		return &scripted{kinds: []string{"op"}, answer: func(int64) (int, time.Duration, error) {
			now := time.Now()
			if stallUntil.IsZero() && !now.Before(begin) {
				stallUntil = now.Add(stall)
			}
			return 0, max(time.Millisecond, stallUntil.Sub(now)), nil
		}}
	}
	run := func(rate float64) Result {
		var res Result
		synctest.Test(t, func(t *testing.T) {
			var err error
			res, err = Run(t.Context(), Config{
				Clients: 1, Duration: 10 * time.Second, Rate: rate, Timeout: 5 * time.Second,
			}, stallOnce())
			if err != nil {
				t.Fatal(err)
			}
		})
		return res
	}

	closed, open := run(0), run(100)
	within(t, "closed loop p99", closed.Latency.P99US, 1000)
	within(t, "closed loop max", closed.Latency.MaxUS, stall.Microseconds())
	if open.Latency.Count != 1000 {
		t.Fatalf("open loop recorded %d operations, want all 1000 that were due", open.Latency.Count)
	}
	// 200 operations came due during the stall and waited for the single
	// client: the last of them least, so p90 lies half way into the stall.
	if p90 := open.Latency.P90US; p90 < 900_000 || p90 > 1_300_000 {
		t.Errorf("open loop p90 = %d us, want about half the stall", p90)
	}
	if p99 := open.Latency.P99US; p99 < 1_800_000 {
		t.Errorf("open loop p99 = %d us, want nearly the whole stall", p99)
	}
	if open.Unsent != 0 || open.Completed != 1000 {
		t.Errorf("open loop completed %d and left %d unsent; it had time to catch up", open.Completed, open.Unsent)
	}
}

func TestOpenLoopReportsWhatItCouldNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two clients at 100 ms an operation send 20/s of the 100/s asked for.
		res, err := Run(t.Context(), Config{
			Clients: 2, Duration: 10 * time.Second, Rate: 100, Timeout: time.Second,
		}, constantDelay(100*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if sent := res.Latency.Count - res.Unsent; sent != 200 || res.Latency.Count != 1000 {
			t.Errorf("sent %d of %d due, want 200 of 1000", sent, res.Latency.Count)
		}
		if res.ThroughputPerSecond > 20 {
			t.Errorf("throughput %v/s is more than the clients can do", res.ThroughputPerSecond)
		}
		// The last operation sent was due at 1.99 s and answered at 10 s.
		within(t, "max", res.Latency.MaxUS, 8_020_000)
	})
}

func TestErrorsAreCountedAndPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := errors.New("connection\nrefused")
		w := &scripted{kinds: []string{"op"}, answer: func(n int64) (int, time.Duration, error) {
			if n%10 == 9 {
				return 0, time.Hour, nil // runs into the time limit
			}
			return 0, 0, refuse
		}}
		res, err := Run(t.Context(), Config{
			Clients: 1, Warmup: time.Second, Duration: 10 * time.Second, Timeout: 100 * time.Millisecond,
		}, w)
		if err != nil {
			t.Fatal(err)
		}
		if res.Completed != 0 || res.Latency.Count != 0 {
			t.Errorf("failures counted as success: %+v", res)
		}
		if got := res.ErrorTotal(); got != w.started.Load() {
			t.Errorf("%d errors of %d failed operations", got, w.started.Load())
		}
		if len(res.Errors) != 2 || len(res.WarmupErrors) != 2 || res.Errors[0].Class != "refused" {
			t.Fatalf("errors = %+v, warm-up %+v", res.Errors, res.WarmupErrors)
		}
		if res.Errors[0].Example != "connection refused" {
			t.Errorf("example %q is not one line", res.Errors[0].Example)
		}
		// 10 operations every 10*10 ms of pause plus one time limit of 100 ms.
		if total := w.started.Load(); total < 500 || total > 600 {
			t.Errorf("%d operations in 11 s: failures are not paced", total)
		}
	})
}

// The answer that is under way when the window ends is waited for.
func TestRunWaitsForAnswersUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		res, err := Run(t.Context(), Config{
			Clients: 3, Duration: time.Second, Timeout: time.Minute,
		}, constantDelay(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if res.Completed != 0 || res.Latency.Count != 3 {
			t.Errorf("completed %d, recorded %d; want 0 in the window, 3 in the percentiles", res.Completed, res.Latency.Count)
		}
		within(t, "p50", res.Latency.P50US, 30_000_000)
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("run took %v", took)
		}
	})
}

func TestKindsAreReportedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{kinds: []string{"put", "get"}, answer: func(n int64) (int, time.Duration, error) {
			return int(n % 2), time.Duration(1+9*(n%2)) * time.Millisecond, nil
		}}
		res, err := Run(t.Context(), Config{Clients: 1, Duration: 11 * time.Second, Timeout: time.Second}, w)
		if err != nil {
			t.Fatal(err)
		}
		put, get := res.Kinds[0], res.Kinds[1]
		if put.Kind != "put" || put.Completed+get.Completed != res.Completed || res.Completed != 1999 {
			t.Errorf("put %+v, get %+v, together %d", put, get, res.Completed)
		}
		within(t, "put p50", put.Latency.P50US, 1000)
		within(t, "get p50", get.Latency.P50US, 10_000)
	})
}

func TestHooksRunAtTheEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		hook := func() error { at = append(at, time.Since(began)); return nil }
		_, err := Run(t.Context(), Config{
			Clients: 1, Warmup: 2 * time.Second, Duration: 3 * time.Second, Timeout: time.Second,
			AtWindowStart: hook, AtWindowEnd: hook,
		}, constantDelay(time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if len(at) != 2 || at[0] != 2*time.Second || at[1] != 5*time.Second {
			t.Errorf("hooks ran at %v, want 2s and 5s", at)
		}
	})
}

func TestFailedHookEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		gone := errors.New("process is gone")
		_, err := Run(t.Context(), Config{
			Clients: 4, Warmup: time.Second, Duration: time.Hour, Timeout: time.Minute,
			AtWindowStart: func() error { return gone },
		}, constantDelay(30*time.Second))
		if !errors.Is(err, gone) {
			t.Errorf("err = %v, want %v", err, gone)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("run went on for %v after the hook failed", took-time.Second)
		}
	})
}

func TestCancelledRunHasNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := Run(ctx, Config{Clients: 4, Duration: time.Hour, Rate: 10, Timeout: time.Minute},
			constantDelay(time.Second))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestValidateReportsAllFaults(t *testing.T) {
	err := Config{Clients: 0, Duration: -1, Warmup: -1, Rate: -1}.Validate()
	if err == nil {
		t.Fatal("accepted nonsense")
	}
	for _, word := range []string{"clients", "duration", "warmup", "rate", "timeout"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not mention %s", err, word)
		}
	}
}
