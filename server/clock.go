package server

import "time"

// processClock is Go's monotonic clock.
func processClock() func() time.Duration {
	began := time.Now().Add(-time.Second) // a clock never says 0
	return func() time.Duration { return time.Since(began) }
}
