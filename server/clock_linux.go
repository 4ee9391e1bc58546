package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// newClock returns the clock of leader leases. It goes on while the machine
// sleeps, which Go's does not.
func newClock() func() time.Duration {
	if _, err := bootTime(); err != nil {
		return processClock()
	}
	return func() time.Duration {
		now, err := bootTime()
		if err != nil {
			panic(err) // it worked before, and takes no resources
		}
		return now
	}
}

func bootTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), err
}
