package measure

import (
	"context"
	"time"

	"raftkv/bench/internal/kvload"
)

// compactionTime limits a compaction.
const compactionTime = 5 * time.Minute

// compaction runs one beside the load.
type compaction struct {
	workload *kvload.Workload
	over     chan struct{} // nil: not begun; closed when the rest is valid
	took     time.Duration
	err      error
}

func (c *compaction) start(ctx context.Context) {
	c.over = make(chan struct{})
	go func() {
		defer close(c.over)
		ctx, cancel := context.WithTimeout(ctx, compactionTime)
		defer cancel()
		began := time.Now()
		c.err = c.workload.Compact(ctx)
		c.took = time.Since(began)
	}()
}

// wait returns how long it took, 0 if it was never begun.
func (c *compaction) wait() (seconds float64, err error) {
	if c.over == nil {
		return 0, nil
	}
	<-c.over
	return c.took.Seconds(), c.err
}
