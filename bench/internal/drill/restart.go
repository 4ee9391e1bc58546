package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raftkv/bench/internal/cluster"
	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
	"raftkv/bench/internal/procstat"
)

const (
	// writePause is between attempts to write to a cluster that starts.
	writePause = 10 * time.Millisecond
	// spaceSettle lets the servers finish what they do behind a load, before
	// memory and disk are read.
	spaceSettle = 5 * time.Second
)

// Space loads the keys and reads what the servers take in memory and on disk.
func Space(ctx context.Context, c Config) (point measure.Point, err error) {
	w, conns, err := c.load(ctx)
	if err != nil {
		return point, err
	}
	if err = errors.Join(w.Preload(ctx, c.Load.Timeout), conns.Close()); err != nil {
		return point, err
	}
	if err := sleep(ctx, spaceSettle); err != nil {
		return point, err
	}
	usage, err := procstat.Reader{Proc: c.Proc}.Sum(c.Servers.PIDs())
	if err != nil {
		return point, err
	}
	point.Servers = &measure.Cost{ResidentBytes: usage.ResidentBytes, PeakResidentBytes: usage.PeakResidentBytes}
	point.DiskBytes = c.Disk()
	point.Workload = c.Workload
	point.Endpoints = c.Servers.Endpoints()
	return point, nil
}

// Restart does what Space does, then kills all members, starts them again and
// measures how long it takes from the start until a write is acknowledged.
func Restart(ctx context.Context, c Config) (measure.Point, error) {
	point, err := Space(ctx, c)
	if err != nil {
		return point, err
	}
	took, err := RestartAll(ctx, c.Servers)
	if err != nil {
		return point, err
	}
	point.Outage = &measure.Outage{Seconds: []float64{took.Seconds()}}
	return point, nil
}

// RestartAll kills all members as kill -9 does, starts them again and returns how
// long it took from the start until a write was acknowledged.
func RestartAll(ctx context.Context, servers *cluster.Cluster) (time.Duration, error) {
	var all []int
	for i := range servers.Endpoints() {
		all = append(all, i)
	}
	if _, err := servers.Kill(all...); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := servers.Restart(all...); err != nil {
		return 0, err
	}
	written, err := firstWrite(ctx, servers.Endpoints())
	return written.Sub(began), err
}

// firstWrite tries all members at once until one acknowledges a write.
func firstWrite(ctx context.Context, endpoints []string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, recoveryTimeout)
	defer cancel()
	var tries sync.WaitGroup
	defer tries.Wait()
	written := make(chan time.Time, len(endpoints))
	for _, endpoint := range endpoints {
		tries.Go(func() {
			for ctx.Err() == nil {
				try, done := context.WithTimeout(ctx, probeTimeout)
				err := kvload.Writes(try, endpoint)
				done()
				if err == nil {
					written <- time.Now()
					return
				}
				_ = sleep(ctx, writePause) // the loop looks at ctx
			}
		})
	}
	select {
	case at := <-written:
		cancel()
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("no member took a write within %v of its start: %w", recoveryTimeout, ctx.Err())
	}
}

// load connects to the leader and prepares the workload.
func (c Config) load(ctx context.Context) (*kvload.Workload, *kvload.Conns, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	conns, err := c.dial(ctx, []string{c.Servers.Endpoints()[leader]})
	if err != nil {
		return nil, nil, err
	}
	return kvload.New(c.Workload, conns, c.Load.Clients), conns, nil
}

func (c Config) dial(ctx context.Context, endpoints []string) (*kvload.Conns, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return kvload.Dial(ctx, endpoints, c.Connections)
}
