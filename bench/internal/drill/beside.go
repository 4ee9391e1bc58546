package drill

import (
	"context"
	"errors"

	"raftkv/bench/internal/load"
)

// beside drives a load and lets an event begin with its measured window. The event
// is told by a closed channel that the window is over, or that nothing comes of it,
// and is waited for.
func beside(ctx context.Context, cfg load.Config, w load.Workload,
	event func(ctx context.Context, end <-chan struct{}) error) (load.Result, error) {
	over := make(chan error, 1)
	started := false
	end := make(chan struct{})
	cfg.AtWindowStart = func() error {
		started = true
		go func() { over <- event(ctx, end) }()
		return nil
	}
	cfg.AtWindowEnd = func() error { close(end); return nil }
	result, err := load.Run(ctx, cfg, w)
	if !started {
		return result, err
	}
	if err != nil {
		select {
		case <-end:
		default:
			close(end)
		}
	}
	return result, errors.Join(err, <-over)
}
