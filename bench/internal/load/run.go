package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// errorPause is what a closed-loop client waits after a failure, so that a
// server that refuses at once is not drowned in retries and the generator does
// not burn the processor it shares with the servers. An open loop needs none.
const errorPause = 10 * time.Millisecond

// Run drives the workload through warm-up and measured window, waits for the
// answers still due, and returns what was measured.
func Run(ctx context.Context, cfg Config, w Workload) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	start := time.Now()
	win := window{start: start.Add(cfg.Warmup)}
	win.end = win.start.Add(cfg.Duration)
	d := &driver{
		cfg:      cfg,
		workload: w,
		window:   win,
		recorder: newRecorder(win, w.Kinds(), cfg.Clients, cfg.highestLatency()),
	}
	if cfg.Rate > 0 {
		d.schedule = &schedule{start: start, ratePerSecond: cfg.Rate}
	}

	// A failed hook ends the run at once instead of after its full length.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clients sync.WaitGroup
	for id := range cfg.Clients {
		clients.Go(func() { d.client(ctx, id) })
	}
	err := d.callHooks(ctx)
	if err != nil {
		cancel()
	}
	clients.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Result{}, fmt.Errorf("load run ended early: %w", err)
	}
	t, err := d.recorder.totals()
	if err != nil {
		return Result{}, err
	}
	return newResult(cfg, w.Kinds(), t), nil
}

// driver is one run.
type driver struct {
	cfg      Config
	workload Workload
	window   window
	recorder *recorder
	schedule *schedule // nil: closed loop
}

func (d *driver) callHooks(ctx context.Context) error {
	edges := []struct {
		at   time.Time
		hook func() error
	}{
		{d.window.start, d.cfg.AtWindowStart},
		{d.window.end, d.cfg.AtWindowEnd},
	}
	for _, edge := range edges {
		if !waitUntil(ctx, edge.at) {
			return nil // Run reports the context's error
		}
		if edge.hook == nil {
			continue
		}
		if err := edge.hook(); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) client(ctx context.Context, id int) {
	op := d.workload.NewClient(id)
	if d.schedule == nil {
		d.closedLoop(ctx, id, op)
		return
	}
	d.openLoop(ctx, id, op)
}

func (d *driver) closedLoop(ctx context.Context, id int, op Op) {
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(d.window.end) {
			return
		}
		if ok := d.perform(ctx, id, op, now); !ok {
			waitUntil(ctx, time.Now().Add(errorPause))
		}
	}
}

func (d *driver) openLoop(ctx context.Context, id int, op Op) {
	for {
		due := d.schedule.next()
		// A client that is free in time sends, even if its timer fires late.
		tooLate := !time.Now().Before(d.window.end)
		if !due.Before(d.window.end) || !waitUntil(ctx, due) {
			return
		}
		if tooLate {
			d.recorder.unsent(id, due)
			continue
		}
		d.perform(ctx, id, op, due)
	}
}

// perform runs one operation and records it from its intended start.
func (d *driver) perform(ctx context.Context, id int, op Op, intended time.Time) (ok bool) {
	opCtx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	kind, err := op(opCtx)
	cancel()
	if err != nil {
		d.recorder.failed(id, intended, d.workload.ErrorClass(err), err)
		return false
	}
	d.recorder.succeeded(id, kind, intended, time.Now())
	return true
}

// waitUntil returns false if ctx ends first.
func waitUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
