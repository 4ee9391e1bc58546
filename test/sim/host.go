package sim

import (
	"errors"
	"math/rand/v2"
	"time"

	"raftkv/node"
	"raftkv/server/identity"
)

// host is a machine: its disk survives its processes.
type host struct {
	s       *simulation
	id      uint64
	rng     *rand.Rand
	disk    *disk
	process *process // nil while none runs

	// tick is the tick interval of this machine's clock, which drifts.
	tick time.Duration
	// slowness stretches the time that disk and processor take.
	slowness float64
	// refused: the cluster knows this id under another incarnation.
	refused bool
}

// start begins a new life, unless one runs.
func (h *host) start() {
	if h.process != nil || h.refused {
		return
	}
	p := &process{
		s: h.s, host: h, rng: rand.New(rand.NewPCG(h.rng.Uint64(), 1)),
		confirmed: map[uint64]bool{}, terms: map[uint64]uint64{}, fs: h.disk.fileSystem(),
	}
	h.process = p
	h.disk.boot++
	if h.disk.incarnation == 0 {
		h.disk.incarnation = h.rng.Uint64() | 1
	}
	p.boot, p.incarnation = h.disk.boot, h.disk.incarnation
	h.s.trace.note(h.s.clock.now, "start", h.id, p.boot, p.incarnation)
	p.after(p.some(20*time.Millisecond), p.begin)
}

// begin opens a complete directory; a new one needs the others' word first.
func (p *process) begin() {
	if p.host.disk.complete {
		p.open()
		return
	}
	p.askAround()
}

// askAround asks the other members to confirm this incarnation, until enough
// have or one refused.
func (p *process) askAround() {
	s := p.s
	if p.core != nil {
		return
	}
	if p.mayCreate() {
		p.create()
		return
	}
	for _, other := range s.hosts {
		if other.id == p.host.id {
			continue
		}
		s.net.carry(p.host.id, other.id, func(q *process) {
			ok := q.admits(p)
			s.net.carry(other.id, p.host.id, func(r *process) {
				if r == p && ok {
					p.confirmed[other.id] = true
				}
			}, func() {})
		}, func() {})
	}
	p.after(100*time.Millisecond, p.askAround)
}

func (p *process) mayCreate() bool {
	return p.s.opts.Planted == SecondLife || len(p.confirmed) >= identity.ConfirmationsNeeded(len(p.s.hosts))
}

// create makes the seeded state and the log of a new member. A crash in between
// leaves an incomplete directory, which the next life discards: nothing in it
// was promised to anybody.
func (p *process) create() {
	if err := p.host.disk.discard(); err != nil {
		p.s.fail("member %d: discard an incomplete directory: %v", p.host.id, err)
		return
	}
	if err := p.mayDieIn(p.createRooms); err != nil {
		p.broke("create", err)
		return
	}
	p.after(p.some(10*time.Millisecond), func() {
		p.host.disk.complete = true
		p.open()
	})
}

// open recovers like the server: the state, then the log at the position of the
// state, then the core.
func (p *process) open() {
	s, h := p.s, p.host
	if !s.calm && p.rng.IntN(10) == 0 {
		h.disk.dieAt(p.rng.IntN(8))
	}
	if err := p.mayDieIn(p.openRooms); err != nil {
		p.broke("open", err)
		return
	}
	h.disk.log.OnStep = nil
	applied, _ := p.state.Applied()
	cfg := s.opts.nodeConfig()
	cfg.ID, cfg.Boot, cfg.Applied, cfg.Pack = h.id, p.boot, applied, p.pack
	cfg.Jitter = func(below time.Duration) time.Duration { return time.Duration(p.rng.Int64N(int64(below))) }
	core, err := node.NewCore(cfg, p.logForCore(), p.snaps)
	if err != nil {
		s.fail("member %d: start the core: %v", h.id, err)
		return
	}
	first, _ := p.log.FirstIndex()
	last, _ := p.log.LastIndex()
	s.trace.note(s.clock.now, "open", h.id, applied, first, last)
	p.core, p.last = core, last
	s.check.opened(p)
	p.tick()
	p.loop(func() {})
}

// admits says whether messages of another process are taken: the first
// incarnation met under an id is the only one, for ever.
func (p *process) admits(from *process) bool {
	if p.s.opts.Planted == SecondLife {
		return true
	}
	h := p.host
	ledger := identity.NewLedger(h.disk.ledger, func(known map[uint64]uint64) error {
		h.disk.ledger = known
		return nil
	})
	err := ledger.Meet(from.host.id, from.incarnation)
	if err == nil {
		return true
	}
	if !errors.Is(err, identity.ErrBootstrapped) {
		p.s.fail("member %d: %v", h.id, err)
	}
	p.s.clock.after(p.s.net.way(), func() { from.refuse() })
	return false
}

// refuse ends a process whose member id belongs to another incarnation. It
// exits with an explanation and does not come back.
func (p *process) refuse() {
	if p.dead {
		return
	}
	p.s.trace.note(p.s.clock.now, "refused", p.host.id)
	p.s.report.Refusals++
	p.host.refused = true
	p.host.crash(kill)
}
