package sim

import (
	"math/rand/v2"
	"time"

	"raftkv/node"
)

// faults decides what goes wrong, and when. Every fault ends by itself.
type faults struct {
	s   *simulation
	rng *rand.Rand
}

const (
	faultEvery  = 1200 * time.Millisecond // mean time between faults
	faultLasts  = 3 * time.Second         // longest time until one ends
	crashedFor  = 2 * time.Second         // mean time until a restart
	pauseForMax = 5 * time.Second         // longer than most leases live
)

// kind of fault and how often it is drawn.
var faultKinds = []struct {
	weight int
	strike func(*faults)
}{
	{5, func(f *faults) { f.crash(f.anyone(), kill) }},
	{5, func(f *faults) { f.crash(f.anyone(), powerCut) }},
	{4, func(f *faults) { f.crash(f.leader(), f.either()) }},
	{1, (*faults).crashAll},
	{3, (*faults).isolate},
	{3, (*faults).split},
	{3, (*faults).cutOneWay},
	{4, (*faults).pause},
	{3, (*faults).badNetwork},
	{2, (*faults).slowMachine},
	{2, func(f *faults) { f.slowDisk(f.someone(), f.between(lagsMin, lagsMax)) }},
	{2, func(f *faults) { f.hangDisk(f.someone(), f.between(lagsMin, hangsMax)) }},
	{2, func(f *faults) { f.hangDisk(f.leader(), f.between(lagsMin, hangsMax)) }},
	{4, func(f *faults) { f.slowApplier(f.someone(), f.between(lagsMin, lagsMax)) }},
	{2, (*faults).transfer},
	{1, (*faults).trim},
	{3, (*faults).reset},
}

// begin starts the random faults. In some runs one member also loses its
// directory, for good: its id is not to be used again.
func (f *faults) begin() {
	if f.rng.IntN(4) == 0 {
		f.s.clock.after(time.Duration(f.rng.Int64N(int64(f.s.opts.Duration))), func() { f.crash(f.anyone(), removal) })
	}
	f.rest()
}

func (f *faults) rest() {
	f.s.clock.after(time.Duration(f.rng.ExpFloat64()*float64(faultEvery)), f.strike)
}

func (f *faults) strike() {
	if f.s.calm {
		return
	}
	total := 0
	for _, k := range faultKinds {
		total += k.weight
	}
	n := f.rng.IntN(total)
	for _, k := range faultKinds {
		if n -= k.weight; n < 0 {
			k.strike(f)
			break
		}
	}
	f.rest()
}

// ends ends a fault after a while.
func (f *faults) ends(after func()) {
	f.s.clock.after(time.Duration(f.rng.Int64N(int64(faultLasts))), after)
}

func (f *faults) anyone() *host { return f.s.anyone(f.rng) }

// leader is the member that leads the highest term, or anyone.
func (f *faults) leader() *host {
	best, term := f.anyone(), uint64(0)
	for _, h := range f.s.hosts {
		if p := h.process; p != nil && p.core != nil {
			if st := p.core.Status(); st.Role == node.Leader && st.Term > term {
				best, term = h, st.Term
			}
		}
	}
	return best
}

// someone is the leader in every third case.
func (f *faults) someone() *host {
	h := f.anyone()
	if f.rng.IntN(3) == 0 {
		h = f.leader()
	}
	return h
}

func (f *faults) either() failure { return failure(f.rng.IntN(2)) }

func (f *faults) crash(h *host, how failure) {
	if h.process == nil {
		return
	}
	h.crash(how)
	f.s.clock.after(time.Duration(f.rng.ExpFloat64()*float64(crashedFor)), h.start)
}

// reset breaks one connection, of a member that lives.
func (f *faults) reset() {
	at, from := f.anyone(), f.anyone()
	if f.rng.IntN(2) == 0 {
		from = f.leader()
	}
	if at != from {
		f.s.trace.note(f.s.clock.now, "reset", at.id, from.id)
		f.s.net.resetAt(at, from.id)
	}
}

func (f *faults) crashAll() {
	how := f.either()
	for _, h := range f.s.hosts {
		f.crash(h, how)
	}
}

func (f *faults) cut(from, to *host) {
	f.s.net.cut[[2]uint64{from.id, to.id}] = true
	f.s.trace.note(f.s.clock.now, "cut", from.id, to.id)
}

func (f *faults) heal() {
	f.s.net.heal()
	f.s.trace.note(f.s.clock.now, "heal")
}

// isolate cuts a member off, more often than not the leader.
func (f *faults) isolate() {
	h := f.anyone()
	if f.rng.IntN(3) > 0 {
		h = f.leader()
	}
	for _, other := range f.s.hosts {
		if other != h {
			f.cut(h, other)
			f.cut(other, h)
		}
	}
	f.ends(f.heal)
}

// split parts the members in two.
func (f *faults) split() {
	side := make([]bool, len(f.s.hosts))
	for i := range side {
		side[i] = f.rng.IntN(2) == 0
	}
	for i, a := range f.s.hosts {
		for j, b := range f.s.hosts {
			if side[i] != side[j] {
				f.cut(a, b)
			}
		}
	}
	f.ends(f.heal)
}

func (f *faults) cutOneWay() {
	for range 1 + f.rng.IntN(4) {
		if a, b := f.anyone(), f.anyone(); a != b {
			f.cut(a, b)
		}
	}
	f.ends(f.heal)
}

func (f *faults) pause() {
	f.pauseHost(f.someone(), time.Duration(f.rng.Int64N(int64(pauseForMax))))
}

func (f *faults) pauseHost(h *host, lasts time.Duration) {
	p := h.process
	if p == nil || p.paused {
		return
	}
	p.pause()
	f.s.trace.note(f.s.clock.now, "pause", h.id)
	f.s.report.Pauses++
	f.s.clock.after(lasts, func() {
		if !p.dead {
			f.s.trace.note(f.s.clock.now, "resume", h.id)
			p.resume()
		}
	})
}

func (f *faults) badNetwork() {
	n := f.s.net
	n.loss, n.duplicate = 0.3*f.rng.Float64(), 0.3*f.rng.Float64()
	n.delay = baseDelay * time.Duration(1+f.rng.IntN(60))
	f.ends(n.calm)
}

// slowMachine makes everything that a member does take longer.
func (f *faults) slowMachine() {
	h := f.anyone()
	h.slowness = 1 + 200*f.rng.Float64()
	f.ends(func() { h.slowness = 1 })
}

// transfer asks the leader to hand over.
func (f *faults) transfer() {
	if p := f.leader().process; p != nil {
		p.now(func() { p.loop(func() { p.core.TransferLeader() }) })
	}
}

// trim makes a member forget the snapshot it made last.
func (f *faults) trim() {
	p := f.anyone().process
	if p == nil || p.snaps == nil {
		return
	}
	if err := p.snaps.Trim(); err != nil {
		f.s.fail("member %d: trim: %v", p.host.id, err)
	}
}

// stop ends all faults for good.
func (f *faults) stop() {
	f.s.calm = true
	f.heal()
	f.s.net.calm()
	for _, h := range f.s.hosts {
		h.slowness = 1
		h.lag.end()
		if p := h.process; p != nil && p.paused {
			p.resume()
		}
		h.start()
	}
}
