package sim

import (
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/node"
	"raftkv/statemachine/envelope"
)

// clockNow is the clock of this machine, which leader leases are measured with.
// It drifts like its ticks, and stands still in a pause with a planted bug only.
func (h *host) clockNow() time.Duration {
	at := h.s.clock.now - h.stood
	if p := h.process; p != nil && p.paused && h.s.opts.Planted == StoppedClocks {
		at -= h.s.clock.now - p.pausedAt
	}
	rate := float64(100*time.Millisecond) / float64(h.tick)
	if h.s.opts.Planted == RunawayClocks {
		rate *= [2]float64{0.2, 2}[h.id%2]
	}
	return time.Duration(h.id)*time.Hour + time.Duration(rate*float64(at))
}

// followLeaseReads does what the server does about the replicated decision on
// lease reads: the directory remembers a promise before it is made, and until it
// has run out.
func (p *process) followLeaseReads() {
	want := p.state.LeaseReads()
	if want == p.promising {
		return
	}
	p.promising = want
	p.switches++
	p.after(p.some(2*time.Millisecond), func() {
		disk, want, switched := p.host.disk, p.promising, p.switches
		disk.promised = max(disk.promised, want)
		p.loop(func() { p.core.SetLeaderLease(want) })
		p.after(disk.promised*6/5, func() { // by a clock that is slow
			if p.switches == switched {
				disk.promised = want
			}
		})
	})
}

// lease carries what is said about leader leases.
func (n *network) lease(from *process, m node.LeaseMessage) {
	n.s.trace.note(n.s.clock.now, "lease", from.host.id, m.To, m.Term, uint64(m.SentAt), uint64(m.Length))
	n.carry(from.host.id, m.To, func(p *process) {
		if p.admits(from) {
			p.loop(func() { p.core.StepLease(from.host.id, m) })
		}
	}, func() {})
}

// countRounds counts the rounds of reads that a process has confirmed.
func (p *process) countRounds() {
	byLease, _ := p.core.ReadRounds()
	p.s.report.ReadsByLease += int(byLease - p.byLease)
	p.byLease = byLease
}

// leaseSwitch is an operator who switches lease reads on and off.
type leaseSwitch struct {
	s   *simulation
	rng *rand.Rand
	on  bool
}

const leaseSwitchEvery = 4 * time.Second

func (w *leaseSwitch) rest() {
	w.s.clock.after(time.Duration(w.rng.ExpFloat64()*float64(leaseSwitchEvery)), func() {
		if !w.s.stopClients {
			w.turn()
			w.rest()
		}
	})
}

// turn mostly switches on, with promises of other lengths.
func (w *leaseSwitch) turn() {
	reads := envelope.LeaseReads{PromiseMS: 300 + w.rng.Uint64N(600)}
	if w.on && w.rng.IntN(3) == 0 {
		reads.PromiseMS = 0
	}
	version := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "0.2.0")
	commands := [][]byte{
		envelope.EncodeCommand(envelope.Command{Kind: envelope.KindClusterVersion, Body: version}),
		envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseReads, Body: reads.Encode()}),
	}
	p := w.s.anyone(w.rng).process
	if p == nil {
		return
	}
	p.now(func() {
		if !p.serves() {
			return
		}
		for _, c := range commands {
			p.proposeCommand(c, 2*time.Second, func(r node.Result) {
				if r.Err == nil {
					w.on = true
					w.s.report.LeaseSwitches++
				}
			})
		}
	})
}

// troubleLeases does to leaders what would make a lease read stale, were it not
// safe: others are elected, as soon as they can be, while the leader cannot hear
// of it. One trouble ends before the next.
func (f *faults) troubleLeases() {
	f.s.clock.after(f.between(300*time.Millisecond, time.Second), func() {
		if f.s.calm {
			return
		}
		leader, lasts := f.leader(), f.between(300*time.Millisecond, 1500*time.Millisecond)
		switch f.rng.IntN(7) {
		case 0:
			f.cutOff(leader)
		case 1:
			f.cutOff(leader)
			f.pauseHost(leader, lasts)
			lasts += 600 * time.Millisecond
		case 2:
			f.cutOff(leader)
			f.restartOthers(leader)
		case 3:
			f.transfer()
			f.s.clock.after(f.between(0, 3*time.Millisecond), func() { f.cutOff(leader) })
		case 4:
			lasts += f.rebel(leader)
		case 5:
			lasts += 2 * time.Second // until the watchdog has seen it
			f.hangDisk(leader, lasts)
		case 6:
			f.slowApplier(f.someone(), lasts)
		}
		f.s.clock.after(lasts, func() {
			f.heal()
			f.troubleLeases()
		})
	})
}

func (f *faults) between(least, below time.Duration) time.Duration {
	return least + time.Duration(f.rng.Int64N(int64(below-least)))
}

// rebel lets a follower lose its leader, and its promise run out, before the
// others lose theirs, which is then.
func (f *faults) rebel(leader *host) (then time.Duration) {
	rebel := f.anyone()
	if rebel == leader {
		return 0
	}
	f.cut(leader, rebel)
	f.cut(rebel, leader)
	f.s.clock.after(time.Second, func() { f.s.net.resetAt(rebel, leader.id) })
	then = f.between(time.Second, 1500*time.Millisecond)
	f.s.clock.after(then, func() { f.cutOff(leader) })
	return then
}

// cutOff parts a member from the others, who learn at once that their connections
// to it broke, as if it had died.
func (f *faults) cutOff(h *host) {
	for _, other := range f.s.hosts {
		if other != h {
			f.s.net.resetAt(other, h.id)
			f.cut(h, other)
			f.cut(other, h)
		}
	}
}

// restartOthers kills everybody but one, and starts them again at once.
func (f *faults) restartOthers(but *host) {
	for _, h := range f.s.hosts {
		if h != but && h.process != nil {
			h.crash(f.either())
			f.s.clock.after(time.Duration(f.rng.Int64N(int64(20*time.Millisecond))), h.start)
		}
	}
}
