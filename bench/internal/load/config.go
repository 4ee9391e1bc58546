package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of a run. They bound memory and goroutines, not ambition.
const (
	maxClients       = 100_000
	maxRatePerSecond = 10_000_000
	maxRunLength     = 24 * time.Hour
)

// Op performs one operation and reports its kind, an index into
// Workload.Kinds, and whether it succeeded. One client calls it, never
// concurrently with itself. ctx carries the operation's time limit.
type Op func(ctx context.Context) (kind int, err error)

// Workload is a source of operations.
type Workload interface {
	// Kinds names the kinds of operations, at least one.
	Kinds() []string
	// NewClient returns the operations of one client, 0 <= id < Clients.
	NewClient(id int) Op
	// ErrorClass names the class under which err is counted. Classes must be
	// few: they are kept for the whole run.
	ErrorClass(err error) string
}

// Config says how a workload is driven.
type Config struct {
	Clients int
	// Duration is the length of the measured window, Warmup what runs before it.
	Duration, Warmup time.Duration
	// Rate is the number of operations due per second; 0 is a closed loop.
	Rate float64
	// Timeout limits one operation.
	Timeout time.Duration
	// AtWindowStart and AtWindowEnd are called once each, close to the edges of
	// the measured window, while the load goes on. Nil is allowed.
	AtWindowStart, AtWindowEnd func() error
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.Clients >= 1 && c.Clients <= maxClients,
		"clients must be between 1 and %d, not %d", maxClients, c.Clients)
	check(c.Duration > 0 && c.Duration <= maxRunLength,
		"duration must be above 0 and at most %v, not %v", maxRunLength, c.Duration)
	check(c.Warmup >= 0 && c.Warmup <= maxRunLength,
		"warmup must be between 0 and %v, not %v", maxRunLength, c.Warmup)
	// Written so that NaN fails too.
	check(c.Rate >= 0 && c.Rate <= maxRatePerSecond,
		"rate must be between 0 and %d operations per second, not %v", maxRatePerSecond, c.Rate)
	check(c.Timeout > 0 && c.Timeout <= maxRunLength,
		"timeout must be above 0 and at most %v, not %v", maxRunLength, c.Timeout)
	return errors.Join(faults...)
}

// highestLatency bounds every latency the run can record: an operation due at
// the first instant that is sent at the last one and then takes its full time
// limit, with some slack for a late timer.
func (c Config) highestLatency() time.Duration {
	return c.Warmup + c.Duration + c.Timeout + time.Minute
}
