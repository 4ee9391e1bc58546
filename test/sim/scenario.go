package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scenario says where the faults come from.
type Scenario int

// The scenarios.
const (
	// RandomFaults draws one fault after the other.
	RandomFaults Scenario = iota
	// LostDirectory removes a member's directory at the worst of moments; random
	// faults follow.
	LostDirectory
	// Blackouts cut the power of all members at once, again and again, while
	// their disks are slow: what was acknowledged too early is gone everywhere. Before
	// some of them a disk hangs, or a member is behind with applying.
	Blackouts
	// ChangingMembers replaces the members one after the other, among random faults.
	ChangingMembers
	// PausedLeaders pauses one leader after the other for longer than leases live, or
	// lets its disk hang for as long.
	PausedLeaders
	// LeaseReads switches lease reads on and off, and elects others behind the
	// leader's back, or because its disk hangs; random faults are there in every
	// fourth run.
	LeaseReads
	// SlowFollowers lets one follower after the other fall behind, by its disk or its
	// applier: the leader waits for each, but not for long. Of other faults there are
	// but deaths in the middle of a step on the disk.
	SlowFollowers
)

// Scenarios are the names of all scenarios, in their order.
func Scenarios() []string {
	return []string{"random-faults", "lost-directory", "blackouts", "changing-members", "paused-leaders", "lease-reads", "slow-followers"}
}

func (s Scenario) String() string { return Scenarios()[s] }

// ParseScenario is the inverse of String.
func ParseScenario(name string) (Scenario, error) {
	i := slices.Index(Scenarios(), name)
	if i < 0 {
		return 0, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(Scenarios(), ", "))
	}
	return Scenario(i), nil
}

// thinkTime is the mean time between two operations of a client: short where the
// moments matter in which a read could be stale, and where whoever stands still is to
// be far behind soon.
func (s Scenario) thinkTime() time.Duration {
	if s == LeaseReads || s == SlowFollowers {
		return 25 * time.Millisecond
	}
	return 120 * time.Millisecond
}

// onlyReads says whether a client never writes. Who writes through a leader that
// is cut off waits for a long time, and cannot see a stale read.
func (s Scenario) onlyReads(client int) bool { return s == LeaseReads && client%3 == 0 }

func (s Scenario) begin(f *faults) {
	switch s {
	case LostDirectory:
		f.s.clock.after(3*time.Second+time.Duration(f.rng.Int64N(int64(3*time.Second))), f.loseDirectory)
	case Blackouts:
		for _, h := range f.s.hosts {
			h.slowness = 20
		}
		f.blackout()
	case ChangingMembers:
		f.begin()
		f.changeMembers()
		f.saveSnapshots()
	case PausedLeaders:
		f.pauseLeader()
	case LeaseReads:
		if f.rng.IntN(4) == 0 {
			f.begin()
		}
		(&leaseSwitch{s: f.s, rng: f.s.fork()}).rest()
		f.troubleLeases()
	case SlowFollowers:
		f.slowFollower()
	default:
		f.begin()
	}
}

func (f *faults) pauseLeader() {
	f.s.clock.after(2*time.Second+time.Duration(f.rng.Int64N(int64(3*time.Second))), func() {
		if f.s.calm {
			return
		}
		if lasts := f.between(3*time.Second, 6*time.Second); f.rng.IntN(3) == 0 {
			f.hangDisk(f.leader(), lasts)
		} else {
			f.pauseHost(f.leader(), lasts)
		}
		f.pauseLeader()
	})
}

func (f *faults) slowFollower() {
	f.s.clock.after(f.between(lagsMin, lagsMax), func() {
		if f.s.calm {
			return
		}
		h := f.anyone()
		switch lasts := f.between(lagsMin, lagsMax); {
		case h == f.leader():
		case f.rng.IntN(3) == 0:
			f.slowApplier(h, lasts)
		default:
			f.hangDisk(h, lasts)
		}
		f.slowFollower()
	})
}

func (f *faults) blackout() {
	switch f.rng.IntN(4) {
	case 0:
		f.slowApplier(f.someone(), lagsMax)
	case 1:
		f.hangDisk(f.someone(), lagsMax)
	}
	f.s.clock.after(time.Second+time.Duration(f.rng.Int64N(int64(2*time.Second))), func() {
		if f.s.calm {
			return
		}
		for _, h := range f.s.hosts {
			h.crash(powerCut)
			h.lag.end()
			f.s.clock.after(time.Duration(f.rng.Int64N(int64(200*time.Millisecond))), h.start)
		}
		f.blackout()
	})
}

// loseDirectory lets the leader commit with the victim and one more member, the
// other two cut off. Then the victim comes back empty on the other side: with
// those two it is a majority that knows nothing of what was committed.
func (f *faults) loseDirectory() {
	s, leader := f.s, f.leader()
	if leader.process == nil {
		s.clock.after(500*time.Millisecond, f.loseDirectory)
		return
	}
	others := slices.DeleteFunc(slices.Clone(s.hosts), func(h *host) bool { return h == leader })
	f.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	victim := others[0]
	f.part([]*host{leader, victim, others[1]}, others[2:])
	s.clock.after(1500*time.Millisecond, func() {
		victim.crash(removal)
		f.heal()
		f.part([]*host{leader, others[1]}, []*host{victim, others[2], others[3]})
		s.clock.after(100*time.Millisecond, victim.start)
		s.clock.after(5*time.Second, func() {
			f.heal()
			f.rest()
		})
	})
}

// part cuts two groups from each other.
func (f *faults) part(a, b []*host) {
	for _, x := range a {
		for _, y := range b {
			f.cut(x, y)
			f.cut(y, x)
		}
	}
}
