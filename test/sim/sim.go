package sim

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/anishathalye/porcupine"

	"raftkv/node"
)

// Options say what to simulate. The zero value of everything but Seed is the
// ordinary run.
type Options struct {
	Seed uint64
	// Duration is how long clients and faults go on, in virtual time.
	Duration time.Duration
	// Planted puts a bug into the members.
	Planted Bug
	// OnlyConsequences turns off the checks that look inside the members, to see
	// whether a planted bug shows in what clients get as well.
	OnlyConsequences bool
	// Scenario says where the faults come from.
	Scenario Scenario
	// Trace gets a line for every step.
	Trace io.Writer

	logMemoryBytes uint64
	segmentBytes   int
	flushBytes     int
	windowBatches  int
	appendsMax     int
	backlogBytes   int
}

// Members is the size of the cluster.
const Members = 5

const (
	minDuration   = 60 * time.Second
	electionTicks = 10
	// settleTime is how long a healed cluster may take to agree.
	settleTime = 60 * time.Second
	// eventsPerSecondMax is some fifty times what is usual.
	eventsPerSecondMax = 200_000
	// porcupineLimit is in real time: it bounds what a history that cannot be
	// decided may cost.
	porcupineLimit = 60 * time.Second
)

// Report counts what happened in a run.
type Report struct {
	Virtual       time.Duration
	Trace         uint64
	Events        uint64
	Acknowledged  int
	Reads         int
	Unknown       int
	Elections     int
	Kills         int
	PowerCuts     int
	DeathsInside  int // of the crashes: in the middle of many steps on the disk
	Removals      int
	Refusals      int
	Pauses        int
	Resets        int // broken connections that a member noticed
	Campaigns     int // that members asked for after one
	Installs      int
	Releases      int
	FinalRevision int64
	// Changes of the members that were applied and answered.
	MembersAdded, MembersPromoted, MembersRemoved int
	// MembersReplaced are those removed that had founded the cluster, Left the
	// processes that ended because their member was removed.
	MembersReplaced, Left int
	// InstalledByJoiners are the snapshots that brought a member its first state,
	// DeathsInstalling the crashes in the middle of staging or installing one.
	InstalledByJoiners, DeathsInstalling        int
	LeasesGranted, LeasesRenewed, LeasesExpired int
	// LeasesRenewedNow are those of LeasesRenewed that needed no round of their own.
	LeasesRenewedNow int
	// LeaseRecordsWithdrawn are the times that were recorded as left and had to be
	// taken back before a renewal, RevocationsRefused those of another term.
	LeaseRecordsWithdrawn, RevocationsRefused int
	// Frames of sessions, how often they were sent, answered once more with what
	// was recorded, or refused since they had been acknowledged, and the increments
	// that were applied.
	SessionFrames, SessionSends, SessionReplays, SessionPast, SessionIncrements int
	// Rounds of reads that leaders confirmed by their leases, and how often lease
	// reads were switched on or off.
	ReadsByLease, LeaseSwitches int
	// What the watchers were told; batches they had to read from the history, and
	// watches that began again behind a compaction.
	WatchEvents, WatchSkips, WatchesCancelled int
	// Saves are the snapshot files that an operator got and verified, SavesBroken
	// those of which the member died on the way, Compactions those of Pebble.
	Saves, SavesBroken, Compactions int
	// Disks that were slow, or hung, and appliers that were slow; what members did
	// about it: see node.Slowness.
	SlowDisks, HungDisks, SlowAppliers   int
	AcksHeld, TicksWaited, DiskTransfers int
	// LongWaits are a leader's waits for a follower that lasted an election timeout, to a tick.
	LongWaits int
	// LeadersHung are leaders whose disks hung for long, LeadersReplaced those of them
	// that led no more when their disks went on.
	LeadersHung, LeadersReplaced int
}

// add sums reports of several runs.
func (r *Report) add(o Report) {
	sum, one := reflect.ValueOf(r).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		switch f := sum.Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(f.Int() + one.Field(i).Int())
		case reflect.Uint64:
			f.SetUint(f.Uint() + one.Field(i).Uint())
		}
	}
}

type simulation struct {
	opts    Options
	clock   clock
	trace   *trace
	rng     *rand.Rand
	net     *network
	hosts   []*host
	faults  *faults
	check   *checker
	history history
	record  *record
	leases  *leases
	report  Report
	// sessions are the clients that have one.
	sessions []*sessionClient

	calm        bool // no more faults
	stopClients bool
	concluded   bool // the final checks, Porcupine among them, have begun
	violation   error

	second       time.Duration // the one that runs, in seconds
	eventsBefore uint64        // its begin
}

// Run simulates one seed. The error is the first violation found. The caller
// has to make crypto/rand deterministic, since raft draws its election timeouts
// from it.
func Run(opts Options) (report Report, err error) {
	if opts.Duration == 0 {
		opts.Duration = minDuration
	}
	s := newSimulation(opts)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("at %s: panic: %v\n%s", s.clock.now, r, debug.Stack())
		}
		if err != nil && !s.concluded {
			err = s.withHistory(err)
		}
		report = s.report
		report.Virtual, report.Trace = s.clock.now, s.trace.sum()
	}()
	defer s.close()
	s.run()
	return s.report, s.violation
}

func newSimulation(opts Options) *simulation {
	s := &simulation{opts: opts, trace: newTrace(opts.Trace), rng: rand.New(rand.NewPCG(opts.Seed, 0))}
	s.tune()
	s.net = newNetwork(s, s.fork())
	s.check = newChecker(s)
	s.faults = &faults{s: s, rng: s.fork()}
	s.record = &record{s: s}
	s.leases = &leases{s: s, until: map[int64]time.Duration{}, gone: map[int64]time.Duration{}}
	for range Members {
		s.addHost(false)
	}
	return s
}

// fork returns a source of randomness of its own, so that one part of the
// simulation does not change what another draws.
func (s *simulation) fork() *rand.Rand { return rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64())) }

// tune draws the sizes of a run: small, so that logs are released, snapshots are
// needed, and a member that applies slowly is soon too far behind.
func (s *simulation) tune() {
	o := &s.opts
	o.flushBytes = 1<<10 + s.rng.IntN(12<<10)
	o.logMemoryBytes = uint64(2<<10 + s.rng.IntN(24<<10))
	o.segmentBytes = 1<<10 + s.rng.IntN(8<<10)
	o.windowBatches = 1 + s.rng.IntN(8)
	o.appendsMax = 1 + s.rng.IntN(4)
	o.backlogBytes = 512 + s.rng.IntN(3<<10)
}

func (o *Options) nodeConfig() node.Config {
	cfg := node.Config{
		FlushBytes: o.flushBytes, BacklogBytesMax: o.backlogBytes, WindowBatches: o.windowBatches, AppendsMax: o.appendsMax,
		BatchCommandsMax: 8, InitialTickAdvance: true, ElectionTicks: electionTicks,
	}
	if o.Planted == EndlessPatience {
		cfg.BacklogTicksMax = math.MaxInt
	}
	return cfg
}

// fail records the first violation and ends the run.
func (s *simulation) fail(format string, args ...any) {
	if s.violation == nil {
		s.violation = fmt.Errorf("at %s: "+format, append([]any{s.clock.now}, args...)...)
	}
}

// until runs events up to a moment, or to the first violation.
func (s *simulation) until(t time.Duration) {
	for s.violation == nil && s.clock.step(t) {
		s.report.Events++
		if second := s.clock.now / time.Second; second != s.second {
			s.second, s.eventsBefore = second, s.report.Events
		}
		if s.report.Events-s.eventsBefore > eventsPerSecondMax {
			s.fail("more than %d events in a second: members excite each other", eventsPerSecondMax)
		}
	}
	if s.violation == nil {
		s.clock.now = t
	}
}

func (s *simulation) run() {
	for _, h := range s.hosts {
		s.clock.after(time.Duration(h.rng.Int64N(int64(300*time.Millisecond))), h.start)
	}
	for _, c := range newClients(s, s.fork()) {
		c.rest()
	}
	for id := range int64(leaseClients) {
		(&leaseClient{s: s, id: id + 1, rng: s.fork()}).rest()
	}
	for id := range sessionClients {
		c := &sessionClient{s: s, id: id, rng: s.fork()}
		s.sessions = append(s.sessions, c)
		c.rest()
	}
	s.opts.Scenario.begin(s.faults)
	s.until(s.opts.Duration)
	s.faults.stop()
	s.until(s.opts.Duration + 3*time.Second)
	s.stopClients = true
	s.settle()
	if s.violation == nil {
		s.conclude()
	}
}

// withHistory adds to a violation whether clients have seen it already.
func (s *simulation) withHistory(err error) error {
	if s.history.linearizable(porcupineLimit/10) != porcupine.Illegal {
		return err
	}
	return fmt.Errorf("the history is not linearizable any more; %w", err)
}

// settle waits until the healed cluster agrees.
func (s *simulation) settle() {
	deadline := s.clock.now + settleTime
	for s.violation == nil && s.clock.now < deadline {
		s.until(s.clock.now + 500*time.Millisecond)
		if s.agreed() {
			return
		}
	}
	if s.violation == nil {
		s.fail("the healed cluster does not agree after %s: %s", settleTime, s.positions())
	}
}

func (s *simulation) close() {
	for _, h := range s.hosts {
		if p := h.process; p != nil {
			p.dead = true
			if err := p.close(); err != nil {
				s.violation = errors.Join(s.violation, fmt.Errorf("member %d: close: %w", h.id, err))
			}
		}
	}
}
