package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/measure"
)

const (
	// ChurnEvery is the time between two kills of the leader; the first comes after
	// half of it.
	ChurnEvery = 2500 * time.Millisecond
	// churnKillsMin is how many kills the window has room for.
	churnKillsMin = 4
)

// Churn measures puts to all members while the leader is killed again and again, by
// the clock: a cluster that recovers slowly is not spared the next kill. The killed
// member is started again at once. Operations fail meanwhile, because a client stays
// with its member.
func Churn(ctx context.Context, c Config) (point measure.Point, err error) {
	conns, err := c.dial(ctx, c.Servers.Endpoints())
	if err != nil {
		return point, err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	cfg := c.churnLoad()
	kills := 0
	result, err := beside(ctx, cfg, kvload.New(c.Workload, conns, cfg.Clients),
		func(ctx context.Context, end <-chan struct{}) error {
			return c.killByTheClock(ctx, end, &kills)
		})
	if err != nil {
		return point, err
	}
	return measure.Point{
		Target: measure.TargetAll, Endpoints: c.Servers.Endpoints(), Connections: c.Connections, Workload: c.Workload,
		Result: result, EventRuns: kills, FailuresExpected: true, DiskBytes: c.Disk(),
	}, nil
}

// churnLoad makes the window long enough.
func (c Config) churnLoad() load.Config {
	cfg := c.Load
	cfg.Duration = max(cfg.Duration, churnKillsMin*ChurnEvery)
	return cfg
}

func (c Config) killByTheClock(ctx context.Context, end <-chan struct{}, kills *int) error {
	for at := time.Now().Add(ChurnEvery / 2); ; at = at.Add(ChurnEvery) {
		if over, err := waitUntil(ctx, end, at); over || err != nil {
			return err
		}
		leader, err := c.leader(ctx)
		if err != nil {
			return fmt.Errorf("before kill %d: %w", *kills+1, err)
		}
		select {
		case <-end: // looking for a leader took the rest of the window
			return nil
		default:
		}
		if _, err := c.Servers.Kill(leader); err != nil {
			return err
		}
		*kills++
		if err := c.Servers.Restart(leader); err != nil {
			return err
		}
	}
}

// waitUntil says whether the end came first.
func waitUntil(ctx context.Context, end <-chan struct{}, at time.Time) (over bool, err error) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-end:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
