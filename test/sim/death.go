package sim

import (
	"errors"

	"raftkv/node"
)

// failure is a way in which a process dies.
type failure int

const (
	kill     failure = iota // what the process wrote is in the page cache
	powerCut                // what was not fsynced is gone
	removal                 // the directory is gone, as by rm -rf
)

func (f failure) String() string { return [...]string{"kill", "power cut", "rm -rf"}[f] }

// crash ends the running process, if there is one, and leaves on the disk what
// survives.
func (h *host) crash(f failure) {
	s, p := h.s, h.process
	s.trace.note(s.clock.now, f.String(), h.id)
	switch f {
	case kill:
		s.report.Kills++
	case powerCut:
		s.report.PowerCuts++
	case removal:
		s.report.Removals++
		h.lost = true
	}
	if p == nil {
		h.disk = h.disk.after(f)
		return
	}
	if p.core != nil {
		h.disk.claim = *p.claims()
	}
	p.dead, h.process = true, nil
	for _, s := range p.saves {
		s.broken()
	}
	p.tear(f)
	h.disk = h.disk.after(f)
	p.breakCalls()
	if f == kill {
		// The kernel closes a killed process's connections; after a power cut
		// nobody does.
		s.net.reset(h.id)
	}
	if err := p.close(); err != nil {
		s.fail("member %d: close a dead process: %v", h.id, err)
	}
}

// tear lets the write that is under way get half-way.
func (p *process) tear(f failure) {
	if p.core == nil {
		return
	}
	if f == kill && p.lazy != nil {
		if err := p.lazy.writeBack(); err != nil {
			p.s.fail("member %d: %v", p.host.id, err)
		}
	}
	if len(p.inflight) == 0 || p.rng.IntN(2) == 0 {
		return
	}
	p.s.trace.note(p.s.clock.now, "tear", p.host.id, uint64(len(p.inflight)))
	p.tornWrite(p.inflight)
}

// tornWrite carries the write that is under way to a random step of the log's
// disk, and no further.
func (p *process) tornWrite(group []node.Write) {
	p.host.disk.dieAt(p.rng.IntN(2 + 2*len(group)))
	if _, _, err := node.Persist(p.logForCore(), group); err != nil && !errors.Is(err, errTorn) {
		p.s.fail("member %d: %v", p.host.id, err)
	}
}

// died says that the process dies, and how.
type died struct{ how failure }

func (d died) Error() string { return "the process died: " + d.how.String() }

// mayDieIn does something that takes many steps on the disk. Now and then the
// process dies in the middle of it.
func (p *process) mayDieIn(do func() error) error {
	if p.s.calm || p.rng.IntN(12) > 0 {
		return do()
	}
	frozen, how := &p.host.disk.frozen, failure(p.rng.IntN(2))
	p.claim = p.claims()
	frozen.arm(p.rng.IntN(10), how)
	err := do()
	if frozen.disarm() {
		p.s.trace.note(p.s.clock.now, "die inside", p.host.id)
		p.s.report.DeathsInside++
		return died{how}
	}
	p.claim = nil
	return err
}

// claims is what the process has been told to be durable.
func (p *process) claims() *claim {
	if p.claim != nil {
		return p.claim
	}
	c := &claim{log: p.image}
	if p.state != nil {
		durable, err := p.durable()
		if err != nil {
			p.s.fail("member %d: durable applied index: %v", p.host.id, err)
		}
		c.applied = durable.GetIndex()
	}
	return c
}

// broke handles an error of a room: a planned death, or a violation.
func (p *process) broke(doing string, err error) {
	var d died
	switch {
	case errors.As(err, &d):
		p.s.faults.crash(p.host, d.how)
	case errors.Is(err, errTorn):
		p.s.faults.crash(p.host, failure(p.rng.IntN(2)))
	default:
		p.s.fail("member %d: %s: %v", p.host.id, doing, err)
	}
}
