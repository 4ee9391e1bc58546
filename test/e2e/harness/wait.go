package harness

import (
	"context"
	"testing"
	"time"
)

const (
	// Patience is how long a test waits for what must happen but has no promised
	// time. It is far above what a loaded machine needs.
	Patience = 30 * time.Second

	pollEvery   = 20 * time.Millisecond
	attemptTime = 3 * time.Second
)

// Until asks again and again until attempt returns nil, and fails the test with
// its last error if that takes longer than within. Every attempt gets a context
// of its own, so one that hangs does not use up all the time.
func Until(tb testing.TB, within time.Duration, what string, attempt func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		trying, done := context.WithTimeout(ctx, attemptTime)
		err := attempt(trying)
		done()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}
