package drill

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"raftkv/bench/internal/load"
)

// idle is a load whose operations take a while and do nothing.
type idle struct{}

func (idle) Kinds() []string         { return []string{"nothing"} }
func (idle) ErrorClass(error) string { return "" }
func (idle) NewClient(int) load.Op {
	return func(ctx context.Context) (int, error) {
		_, err := waitUntil(ctx, nil, time.Now().Add(10*time.Millisecond))
		return 0, err
	}
}

// The event begins with the window, hears of its end, and what became of it is not
// lost.
func TestEventGoesOnBesideTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Load: load.Config{Clients: 1, Warmup: time.Second, Duration: time.Second, Timeout: time.Second}}.churnLoad()
		if cfg.Duration != churnKillsMin*ChurnEvery {
			t.Errorf("the window of %v has no room for the kills", cfg.Duration)
		}
		start, broken := time.Now(), errors.New("broken")
		var begun, ended time.Duration
		_, err := beside(t.Context(), cfg, idle{}, func(ctx context.Context, end <-chan struct{}) error {
			begun = time.Since(start)
			over, err := waitUntil(ctx, end, start.Add(time.Hour))
			ended = time.Since(start)
			if !over || err != nil {
				t.Errorf("over %t, %v", over, err)
			}
			return broken
		})
		if !errors.Is(err, broken) || begun != cfg.Warmup || ended != cfg.Warmup+cfg.Duration {
			t.Errorf("from %v to %v, %v", begun, ended, err)
		}
	})
}

func TestEventEndsWithTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		cfg := load.Config{Clients: 1, Warmup: time.Second, Duration: time.Hour, Timeout: time.Second}
		_, err := beside(ctx, cfg, idle{}, func(_ context.Context, end <-chan struct{}) error {
			<-end
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
