package load

import (
	"math"
	"sync/atomic"
	"time"
)

// schedule hands out the operations of an open loop in the order they are due.
// Clients draw from one queue rather than owning a fixed share each: with
// fixed shares, one client held up by a slow answer would delay operations
// that a free client could have sent.
type schedule struct {
	start time.Time
	// ratePerSecond is above 0.
	ratePerSecond float64
	drawn         atomic.Int64
}

// next draws the next operation and returns when it is due.
func (s *schedule) next() time.Time {
	return s.due(s.drawn.Add(1) - 1)
}

// due is computed from n alone, so rounding does not add up over a run.
func (s *schedule) due(n int64) time.Time {
	seconds := float64(n) / s.ratePerSecond
	if seconds >= maxRunLength.Seconds()*3 {
		// Beyond every run; float64 would overflow a Duration at tiny rates.
		return s.start.Add(3 * maxRunLength)
	}
	return s.start.Add(time.Duration(math.Round(seconds * float64(time.Second))))
}
