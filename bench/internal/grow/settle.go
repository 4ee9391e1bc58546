package grow

import (
	"context"
	"time"

	"raftkv/bench/internal/procstat"
)

const (
	settleEvery = time.Second
	settleMax   = time.Minute
	// settledCores is what all members together use at rest, and some more.
	settledCores = 0.1
)

// settle waits until processes have done what they do behind a load, such as
// compactions, and says whether they had within settleMax.
func settle(ctx context.Context, reader procstat.Reader, pids []int) (settled bool, err error) {
	last, err := reader.Sum(pids)
	for waited := time.Duration(0); err == nil && waited < settleMax; waited += settleEvery {
		timer := time.NewTimer(settleEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		}
		before := last.CPU
		last, err = reader.Sum(pids)
		if err == nil && (last.CPU-before).Seconds() < settledCores*settleEvery.Seconds() {
			return true, nil
		}
	}
	return false, err
}
