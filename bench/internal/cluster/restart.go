package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Kill ends members as kill -9 does, all signals before the first wait, and
// returns when they have ended. sent is the time just before the first signal.
func (c *Cluster) Kill(members ...int) (sent time.Time, err error) {
	sent = time.Now()
	var faults []error
	for _, i := range members {
		p := c.processes[i]
		faults = append(faults, p.alive())
		if err := p.handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			faults = append(faults, fmt.Errorf("killing %s: %w", p.name, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return sent, err
	}
	for _, i := range members {
		<-c.processes[i].ended
		c.down[i] = true
	}
	return sent, nil
}

// Restart starts members that Kill ended, with the flags and the directory they
// had, and does not wait until they serve.
func (c *Cluster) Restart(members ...int) error {
	for _, i := range members {
		old := c.processes[i]
		if !c.down[i] {
			return fmt.Errorf("restarting %s: it runs", old.name)
		}
		p, err := startProcess(old.name, old.binary, old.logPath, old.args)
		if err != nil {
			return err
		}
		c.processes[i] = p
		delete(c.down, i)
	}
	return nil
}

// AwaitReady waits until ready returns nil, at most for timeout, or until a
// member that should run has ended.
func (c *Cluster) AwaitReady(ctx context.Context, timeout time.Duration, ready func(ctx context.Context, endpoints []string) error) error {
	return c.waitReady(ctx, Config{Ready: ready, ReadyTimeout: timeout})
}

// Index is the number of the member with a client address, -1 for none.
func (c *Cluster) Index(endpoint string) int { return slices.Index(c.endpoints, endpoint) }
