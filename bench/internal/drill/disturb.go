package drill

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/measure"
)

// Kinds of operations that Disturb reports.
const (
	KindQuiet  = "quiet"
	KindDuring = "during"
	kindAfter  = "after"
)

// Event is what goes on beside the puts.
type Event string

// Events.
const (
	// EventSave saves snapshots from the leader, one after the other.
	EventSave Event = "snapshot-save"
	// EventCatchUp starts a follower that had been down while so much was written
	// that the others no longer keep the log it needs.
	EventCatchUp Event = "catch-up"
	// EventCompaction compacts everything that was loaded and put.
	EventCompaction Event = "compaction"
)

// loadBatch keys are loaded in one transaction, as fast as a server takes them.
const loadBatch = 100

// openClients are so many that one is free for every put that is due, unless the
// servers stall for long.
const openClients = 1000

// maximumPart is the share of a window that is spent on finding the maximum.
const maximumPart = 2

// Disturb measures what the cluster takes at most, then latencies of puts at half
// that rate: left alone, and while the event goes on.
func Disturb(ctx context.Context, c Config, event Event) (point measure.Point, err error) {
	w, conns, err := c.load(ctx)
	if err != nil {
		return point, err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	for range max(1, c.Workload.Versions) {
		if err := w.Rewrite(ctx, c.Load.Timeout, loadBatch); err != nil {
			return point, err
		}
	}
	closed := c.Load
	closed.Duration /= maximumPart
	most, err := load.Run(ctx, closed, w)
	if err != nil {
		return point, err
	}
	if most.ThroughputPerSecond == 0 {
		return point, errors.New("no put succeeded while the maximum was measured")
	}
	open := c.Load
	open.Rate = most.ThroughputPerSecond / 2
	open.Clients = max(open.Clients, openClients)
	quiet, err := load.Run(ctx, open, w)
	if err != nil {
		return point, err
	}
	d := &disturbance{cfg: c, event: event, workload: w}
	if err := d.prepare(ctx); err != nil {
		return point, err
	}
	during, err := d.run(ctx, open)
	if err != nil {
		return point, err
	}
	point = measure.Point{
		Target: measure.TargetLeader, Endpoints: c.Servers.Endpoints(), Connections: c.Connections, Workload: c.Workload,
		Result: join(quiet, during), MaximumPerSecond: most.ThroughputPerSecond,
		EventSeconds: d.took.Seconds(), EventRuns: d.runs, DiskBytes: c.Disk(),
	}
	if event == EventCatchUp && d.installed == 0 {
		point.Doubts = append(point.Doubts, "the follower caught up from the log: no snapshot was sent")
	}
	return point, nil
}

// join makes one result of both windows: its latencies are those beside the
// event, its kinds tell both.
func join(quiet, during load.Result) load.Result {
	r := during
	r.Kinds = []load.KindResult{{
		Kind: KindQuiet, Completed: quiet.Completed, ThroughputPerSecond: quiet.ThroughputPerSecond, Latency: quiet.Latency,
	}}
	for _, k := range during.Kinds {
		if k.Kind == KindDuring {
			r.Kinds, r.Latency = append(r.Kinds, k), k.Latency
		}
	}
	r.Errors = append(quiet.Errors, during.Errors...)
	r.WarmupErrors = append(quiet.WarmupErrors, during.WarmupErrors...)
	r.Unsent += quiet.Unsent
	return r
}

// disturbance is one event beside a load.
type disturbance struct {
	cfg      Config
	event    Event
	workload *kvload.Workload
	// active is whether the event goes on, begun how often it did begin.
	active atomic.Bool
	begun  atomic.Int64
	// follower is the member that was stopped.
	follower int
	// What became of it, once it is over.
	runs      int
	took      time.Duration // of the first run
	installed int           // snapshots that the follower took over
}

// run drives the load; the event begins with the measured window.
func (d *disturbance) run(ctx context.Context, cfg load.Config) (load.Result, error) {
	return beside(ctx, cfg, marked{d.workload, d}, d.repeat)
}

// repeat runs the event once, or, if it can be had again, until the window ends.
func (d *disturbance) repeat(ctx context.Context, end <-chan struct{}) error {
	for {
		began := time.Now()
		d.begun.Add(1)
		d.active.Store(true)
		err := d.once(ctx)
		d.active.Store(false)
		if d.runs++; d.runs == 1 {
			d.took = time.Since(began)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.event, err)
		}
		select {
		case <-end:
			return nil
		default:
		}
		if d.event != EventSave {
			return nil
		}
	}
}

// marked tells operations beside the event from others. It satisfies
// load.Workload.
type marked struct {
	*kvload.Workload
	d *disturbance
}

func (m marked) Kinds() []string { return []string{KindDuring, kindAfter} }

func (m marked) NewClient(id int) load.Op {
	op := m.Workload.NewClient(id)
	return func(ctx context.Context) (int, error) {
		active, begun := m.d.active.Load(), m.d.begun.Load()
		_, err := op(ctx)
		if active || m.d.active.Load() || m.d.begun.Load() != begun {
			return 0, err
		}
		return 1, err
	}
}
