package drill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"raftkv/bench/internal/cluster"
	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/measure"
)

const (
	recoveryTimeout = 3 * time.Minute
	// settleMin and what is drawn on top of it keep kills from falling into step
	// with heartbeats.
	settleMin    = 300 * time.Millisecond
	settleRandom = 300 * time.Millisecond
)

// Config says what happens to which cluster.
type Config struct {
	Servers *cluster.Cluster
	// Workload is what is loaded, and put by Disturb; puts only.
	Workload kvload.Spec
	// Load drives the puts of Disturb: the length of its windows, not the rate.
	Load        load.Config
	Connections int
	// Kills is how often Failover kills the leader.
	Kills int
	Proc  fs.FS
	// Disk measures what the members' directories take.
	Disk func() int64
}

// Failover kills the leader again and again under a light load of writes. Every
// time it measures how long it takes until a write is acknowledged, starts the
// killed member again and waits until it has caught up.
func Failover(ctx context.Context, c Config) (point measure.Point, err error) {
	p, err := startProber(c.Servers.Endpoints())
	if err != nil {
		return point, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	point.Outage = &measure.Outage{}
	for n := range c.Kills {
		if err := c.killLeader(ctx, p, point.Outage); err != nil {
			return point, fmt.Errorf("kill %d of %d: %w", n+1, c.Kills, err)
		}
	}
	point.Completed = p.acknowledged()
	point.Endpoints = c.Servers.Endpoints()
	return point, nil
}

func (c Config) killLeader(ctx context.Context, p *prober, outage *measure.Outage) error {
	if err := sleep(ctx, settleMin+rand.N(settleRandom)); err != nil {
		return err
	}
	if _, err := p.firstBegunAfter(ctx, time.Now()); err != nil {
		return err
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	sent, err := c.Servers.Kill(leader)
	if err != nil {
		return err
	}
	acknowledged, err := p.firstBegunAfter(ctx, time.Now())
	if err != nil {
		return err
	}
	outage.Seconds = append(outage.Seconds, acknowledged.Sub(sent).Seconds())
	started := time.Now()
	if err := c.Servers.Restart(leader); err != nil {
		return err
	}
	if err := c.awaitCaughtUp(ctx, leader); err != nil {
		return err
	}
	outage.CatchUpSeconds = append(outage.CatchUpSeconds, time.Since(started).Seconds())
	return nil
}

// leader is the number of the member that leads.
func (c Config) leader(ctx context.Context) (int, error) {
	leader := -1
	err := c.Servers.AwaitReady(ctx, recoveryTimeout, func(ctx context.Context, endpoints []string) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		endpoint, err := kvload.Leader(ctx, endpoints)
		leader = c.Servers.Index(endpoint)
		return err
	})
	return leader, err
}

// awaitCaughtUp waits until a member serves and has applied what the leader had
// applied just before it was asked.
func (c Config) awaitCaughtUp(ctx context.Context, member int) error {
	return c.Servers.AwaitReady(ctx, recoveryTimeout, func(ctx context.Context, endpoints []string) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		leader, err := kvload.Leader(ctx, endpoints)
		if err != nil {
			return err
		}
		goal, err := kvload.Applied(ctx, leader)
		if err != nil {
			return err
		}
		applied, err := kvload.Applied(ctx, endpoints[member])
		if err != nil {
			return err
		}
		if applied < goal {
			return fmt.Errorf("%s has applied %d of %d entries", endpoints[member], applied, goal)
		}
		return kvload.Serves(ctx, endpoints[member])
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
