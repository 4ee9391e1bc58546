//go:build !linux

package server

import "time"

// newClock returns the clock of leader leases. It may stand still while the
// machine sleeps (docs/operations.md).
func newClock() func() time.Duration { return processClock() }
