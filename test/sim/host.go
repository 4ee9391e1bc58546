package sim

import (
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
	watcher *watcher

	// tick is the tick interval of this machine's clock, which drifts.
	tick time.Duration
	// stood is for how long its clock has stood still, with a planted bug.
	stood time.Duration
	// slowness stretches the time that disk and processor take; lag comes on top.
	slowness float64
	lag      lag
	// joins: it does not found the cluster. refused: the cluster knows its id under
	// another incarnation. left: its member was removed.
	joins, refused, left bool
	// lost: its directory was removed. Such a member does not take part again,
	// whether somebody is left who says so or not.
	lost bool
	// flushes counts those of the state, over all lives.
	flushes int
}

// start begins a new life, unless one runs.
func (h *host) start() {
	if h.process != nil || h.refused || h.left {
		return
	}
	if h.joins && !h.disk.complete {
		h.disk.introduced = nil // it asks anew
	}
	p := &process{
		s: h.s, host: h, rng: rand.New(rand.NewPCG(h.rng.Uint64(), 1)),
		confirmed: map[uint64]bool{}, terms: map[uint64]uint64{}, waiting: map[uint64]time.Duration{}, fs: h.disk.fileSystem(),
	}
	p.feed = &feed{p: p}
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
	switch {
	case p.host.disk.complete:
		p.open()
	case p.host.disk.introduced == nil:
		p.askToJoin()
	default:
		p.askAround()
	}
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
	for _, other := range voters(p.members()) {
		if other.ID == p.host.id {
			continue
		}
		s.net.carry(p.host.id, other.ID, func(q *process) {
			ok := q.admits(p)
			s.net.carry(other.ID, p.host.id, func(r *process) {
				if r == p && ok {
					p.confirmed[other.ID] = true
				}
			}, func() {})
		}, func() {})
	}
	p.after(100*time.Millisecond, p.askAround)
}

func (p *process) mayCreate() bool {
	others := 0
	for _, m := range voters(p.members()) {
		if m.ID != p.host.id {
			others++
		}
	}
	return p.s.opts.Planted == SecondLife || len(p.confirmed) >= identity.ConfirmationsNeeded(others+1)
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
	if cfg.Now, cfg.PromisedFor = h.clockNow, h.disk.promised; s.opts.Planted == ForgottenPromise {
		cfg.PromisedFor = 0
	}
	core, err := node.NewCore(cfg, p.logForCore(), installer{p})
	if err != nil {
		s.fail("member %d: start the core: %v", h.id, err)
		return
	}
	first, _ := p.log.FirstIndex()
	last, _ := p.log.LastIndex()
	s.trace.note(s.clock.now, "open", h.id, applied, first, last)
	p.core, p.last = core, last
	p.membersChanged()
	if p.dead {
		return
	}
	s.check.opened(p)
	h.watcher.catchUp(p)
	p.tick()
	p.dial()
	p.publish()
	p.followLeaseReads()
	p.leasing = &leasing{p: p}
	p.leasing.check()
	if h.joins {
		p.stayIntroduced()
		p.seekPromotion()
	}
	p.loop(func() {})
}
