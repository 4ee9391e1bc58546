package sim

import (
	"maps"
	"slices"
	"time"

	"raftkv/node"
)

// lag is what makes the disk or the applier of a machine slow, and nothing else.
type lag struct {
	// write is how long a write to the disk takes at most, apply a task of the
	// applier, beside what is usual.
	write, apply time.Duration
	// hangs: nothing that the disk was given ends. hung is what waits for that.
	hangs bool
	hung  []func()
}

const (
	lagMin, lagMax   = 20 * time.Millisecond, 500 * time.Millisecond
	lagsMin, lagsMax = 500 * time.Millisecond, 4 * time.Second // how long lags go on
	hangsMax         = 6 * time.Second
	// hangIsLong: the watchdog takes up to two election timeouts, a hand-over one.
	hangIsLong = 3 * time.Second
	// turnsTake is more than the time between a tick and the turn that heeds it.
	turnsTake = time.Millisecond
)

// onDisk runs f once the disk has done something that usually takes about d.
func (p *process) onDisk(d time.Duration, f func()) {
	p.after(p.some(d)+p.someOf(p.host.lag.write), func() {
		if l := &p.host.lag; l.hangs {
			l.hung = append(l.hung, func() { p.now(f) })
			return
		}
		f()
	})
}

// someOf is between half and all of a lag.
func (p *process) someOf(lag time.Duration) time.Duration {
	if lag == 0 {
		return 0
	}
	return lag/2 + time.Duration(p.rng.Int64N(int64(lag/2)))
}

// goOn ends that the disk hangs.
func (l *lag) goOn() {
	hung := l.hung
	l.hangs, l.hung = false, nil
	for _, f := range hung {
		f()
	}
}

// end ends all of it.
func (l *lag) end() {
	l.write, l.apply = 0, 0
	l.goOn()
}

// slowDisk makes a member's writes to its disk take long.
func (f *faults) slowDisk(h *host, lasts time.Duration) {
	h.lag.write = f.between(lagMin, lagMax)
	f.s.trace.note(f.s.clock.now, "slow disk", h.id, uint64(h.lag.write))
	f.s.report.SlowDisks++
	f.s.clock.after(lasts, func() { h.lag.write = 0 })
}

// hangDisk lets a member's disk finish nothing for a while.
func (f *faults) hangDisk(h *host, lasts time.Duration) {
	h.lag.hangs = true
	f.s.trace.note(f.s.clock.now, "disk hangs", h.id)
	f.s.report.HungDisks++
	p := h.process
	led := p.leads()
	f.s.clock.after(lasts, func() {
		if led && h.process == p && h.lag.hangs && lasts > hangIsLong {
			f.s.report.LeadersHung++
			if !p.leads() {
				f.s.report.LeadersReplaced++
			}
		}
		f.s.trace.note(f.s.clock.now, "disk goes on", h.id)
		h.lag.goOn()
	})
}

// leads says whether a process is the leader, as far as it knows.
func (p *process) leads() bool {
	return p != nil && p.core != nil && p.core.Status().Role == node.Leader
}

// slowApplier makes each task of a member's applier take long.
func (f *faults) slowApplier(h *host, lasts time.Duration) {
	h.lag.apply = f.between(lagMin, lagMax)
	f.s.trace.note(f.s.clock.now, "slow applier", h.id, uint64(h.lag.apply))
	f.s.report.SlowAppliers++
	f.s.clock.after(lasts, func() { h.lag.apply = 0 })
}

// countSlowness counts what a process did because somebody was slow.
func (p *process) countSlowness() {
	before, now, r := p.slowness, p.core.Slowness(), &p.s.report
	r.AcksHeld += int(now.AcksHeld - before.AcksHeld)
	r.TicksWaited += int(now.TicksWaited - before.TicksWaited)
	r.DiskTransfers += int(now.DiskTransfers - before.DiskTransfers)
	p.slowness = now
}

// patience checks that a leader waits for no follower for longer than an election
// timeout of its own clock, and the tick in which it notices.
func (c *checker) patience(p *process) {
	now, waits := c.s.clock.now, p.core.WaitsFor()
	maps.DeleteFunc(p.waiting, func(id uint64, since time.Duration) bool {
		if slices.Contains(waits, id) {
			return false
		}
		if now-since >= (electionTicks-1)*p.host.tick {
			c.s.report.LongWaits++
		}
		return true
	})
	for _, id := range waits {
		since, known := p.waiting[id]
		if !known {
			p.waiting[id] = now
			continue
		}
		if waited := now - since; waited > (electionTicks+1)*p.host.tick+turnsTake {
			c.fail("leader %d has waited for member %d for %s: the others' clients may wait for an election timeout", p.host.id, id, waited)
		}
	}
}

// waitedPaused takes out of a leader's waits what no leader can help: for so long its
// process stood still.
func (p *process) waitedPaused(stood time.Duration) {
	for id := range p.waiting {
		p.waiting[id] += stood
	}
}
