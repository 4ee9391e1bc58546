package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/snap"
	"raftkv/statemachine"
	"raftkv/wal"
)

// process is one life of a member: it runs until a crash. It drives its Core in
// the way node.Node does, with the same steps, but as events: the loop, the log
// writer, the applier and the flush each take their time, and a crash or a
// pause can come between any two steps.
type process struct {
	s    *simulation
	host *host
	rng  *rand.Rand
	dead bool
	// backlog is what fell due while the process was paused.
	paused   bool
	pausedAt time.Duration
	backlog  []func()

	incarnation, boot uint64
	confirmed         map[uint64]bool // peers that confirmed the incarnation

	fs vfs.FS
	// claim is what had been durable before the operation in which the process
	// died.
	claim *claim

	// Set when the member has been opened.
	core  *node.Core
	log   *wal.Log
	image *image        // what is durable of the log
	lazy  *lazySegments // with a planted bug
	state *statemachine.Machine
	feed  *feed
	snaps *snap.Store
	// segments is how many segments the log has.
	segments int
	saves    []*save

	inbox []func()
	woken bool

	writes   []node.Write
	inflight []node.Write // taken by the log writer and not written yet
	writing  bool
	applies  []node.Apply
	applying bool

	calls   []*call
	errands []*errand
	leasing *leasing
	// roster and removed are the table of members as of the last tick; leaving: this
	// one is in removed.
	roster  []statemachine.Member
	removed []uint64
	leaving bool
	// strangers are members that it met and that its table does not have yet.
	strangers []statemachine.Member
	meeting   bool
	// dying is how the process is to die behind what it does now.
	dying *died
	// terms of the entries handed to the log writer, by index; last is the
	// index of the last one.
	terms map[uint64]uint64
	last  uint64
	led   uint64 // the last term this process led

	// promising is what the state says about lease reads, as it was last heeded;
	// switches counts the changes. byLease is what countRounds has counted, slowness
	// what countSlowness has.
	promising time.Duration
	switches  int
	byLease   uint64
	slowness  node.Slowness
	// waiting says since when it waits, as a leader, for which follower.
	waiting map[uint64]time.Duration
}

// after runs f d from now, if the process still lives; a paused process runs it
// when it goes on.
func (p *process) after(d time.Duration, f func()) {
	p.s.clock.after(d, func() { p.now(f) })
}

func (p *process) now(f func()) {
	switch {
	case p.dead:
	case p.paused:
		p.backlog = append(p.backlog, f)
	default:
		f()
		if !p.dead {
			p.poll()
			p.runErrands()
		}
	}
}

func (p *process) pause() { p.paused, p.pausedAt = true, p.s.clock.now }

func (p *process) resume() {
	if p.s.opts.Planted == StoppedClocks {
		p.host.stood += p.s.clock.now - p.pausedAt
	}
	p.paused = false
	p.waitedPaused(p.s.clock.now - p.pausedAt)
	backlog := p.backlog
	p.backlog = nil
	for _, f := range backlog {
		p.now(f)
	}
}

// loop gives the core's loop something to do. What arrives while the loop is
// about to run is handled in one turn, like an inbox.
func (p *process) loop(f func()) {
	if p.core == nil {
		return
	}
	p.inbox = append(p.inbox, f)
	if !p.woken {
		p.woken = true
		p.after(time.Duration(p.rng.IntN(100))*time.Microsecond, p.turn)
	}
}

func (p *process) turn() {
	p.woken = false
	inbox := p.inbox
	p.inbox = nil
	for _, f := range inbox {
		f()
	}
	p.round()
}

func (p *process) tick() {
	p.after(p.host.tick, func() {
		p.membersChanged()
		p.loop(p.core.Tick)
		p.tick()
	})
}

// round lets the core decide and starts what it decided.
func (p *process) round() {
	out := p.core.Output()
	if p.dying != nil {
		p.broke("checkpoint", *p.dying)
		return
	}
	if err := p.core.Fatal(); err != nil {
		p.s.fail("member %d: %v", p.host.id, err)
		return
	}
	p.s.check.output(p, &out)
	for _, m := range out.Messages {
		p.send(m)
	}
	for _, m := range out.Leases {
		p.s.net.lease(p, m)
	}
	p.countRounds()
	p.countSlowness()
	for _, f := range out.Forwards {
		p.s.net.forward(p, f.To, f.Batch)
	}
	if p.s.opts.Planted == EarlyCandidacy {
		p.standEarly(out.Writes)
	}
	p.writes = append(p.writes, out.Writes...)
	p.applies = append(p.applies, out.Applies...)
	p.startWriting()
	p.startApplying()
	if out.Flush {
		p.flush(out.FlushedEnough)
	}
	if out.CampaignAfter > 0 {
		p.s.report.Campaigns++
		p.after(out.CampaignAfter, func() { p.loop(p.core.CampaignDue) })
	}
	if out.CommitsAfter > 0 {
		p.after(out.CommitsAfter, func() { p.loop(p.core.CommitsDue) })
	}
	p.s.check.status(p)
	p.s.check.patience(p)
}

func (p *process) send(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap {
		p.stream(m)
		return
	}
	p.s.check.stood(p, m)
	p.s.net.message(p, m)
}

// some is a duration around d, longer on a slow disk.
func (p *process) some(d time.Duration) time.Duration {
	return time.Duration(p.rng.ExpFloat64() * float64(d) * p.host.slowness)
}

const (
	writeTime = 600 * time.Microsecond
	applyTime = 200 * time.Microsecond
	flushTime = 10 * time.Millisecond
	watchTime = 5 * time.Millisecond

	flushesPerCompaction = 8
)

// startWriting is the log writer taking all that waits. The write happens at
// one moment of the time it takes: a crash before it loses the group or tears
// it, a crash after it finds it on disk unacknowledged.
func (p *process) startWriting() {
	if p.writing || len(p.writes) == 0 {
		return
	}
	p.writing = true
	p.inflight, p.writes = p.writes, nil
	if p.s.opts.Planted == AcknowledgeBeforeDurable {
		p.acknowledgeEarly()
	}
	p.onDisk(writeTime, func() {
		group := p.inflight
		p.inflight = nil
		responses, bytes, err := node.Persist(p.logForCore(), group)
		if err != nil {
			p.s.fail("member %d: %v", p.host.id, err)
			return
		}
		p.s.check.wrote(p, group)
		p.onDisk(writeTime/2, func() { p.wrote(responses, bytes) })
	})
}

func (p *process) wrote(responses []*raftpb.Message, bytes int) {
	p.writing = false
	var own []*raftpb.Message
	for _, m := range responses {
		p.s.check.acknowledged(p, m)
		if m.GetTo() == p.host.id {
			own = append(own, m)
		} else {
			p.send(m)
		}
	}
	p.loop(func() { p.core.WriteDone(bytes, own) })
	p.startWriting()
}

// startApplying is the applier taking all that waits, or one task after the other
// while each takes long.
func (p *process) startApplying() {
	if p.applying || len(p.applies) == 0 {
		return
	}
	p.applying = true
	tasks, lag := p.applies, p.someOf(p.host.lag.apply)
	if lag > 0 {
		tasks = tasks[:1]
	}
	p.applies = p.applies[len(tasks):]
	p.after(p.some(applyTime)+lag, func() {
		var done []node.Applied
		err := node.Execute(p.stateForApply(), installer{p}, tasks, p.core.Answer, func(some []node.Applied) { done = append(done, some...) })
		if err != nil {
			p.broke("execute", err)
			return
		}
		p.s.check.applied(p)
		p.after(p.some(applyTime/2), func() { p.executed(done) })
	})
}

func (p *process) executed(done []node.Applied) {
	p.applying = false
	for _, a := range done {
		if a.Conf != nil || a.Task.Install != nil {
			p.membersChanged()
		}
	}
	p.followLeaseReads()
	p.loop(func() {
		for _, a := range done {
			p.core.ApplyDone(a.Task, a.Conf)
		}
	})
	p.startApplying()
}

func (p *process) flush(enough uint64) {
	p.onDisk(flushTime, func() {
		var durable *raftpb.SnapshotMetadata
		err := p.mayDieIn(func() (err error) {
			if durable, err = node.Flush(p.state, enough); errors.Is(err, statemachine.ErrNotInitialized) {
				durable, err = nothing(), nil
			}
			return err
		})
		if err != nil {
			p.broke("flush", err)
			return
		}
		if p.host.flushes++; p.host.flushes%flushesPerCompaction == 0 {
			if err := p.mayDieIn(p.compact); err != nil {
				p.broke("compact", err)
				return
			}
		}
		p.s.trace.note(p.s.clock.now, "flush", p.host.id, durable.GetIndex())
		p.after(p.some(flushTime/2), func() {
			p.loop(func() { p.core.FlushDone(durable) })
		})
	})
}

// compact rewrites the files of the state, as Pebble would in the background
// where it may be left to chance.
func (p *process) compact() error {
	p.s.report.Compactions++
	_, _, err := p.state.Rewrite(context.Background())
	return err
}

// installer counts what Snapshots.Install does.
type installer struct{ p *process }

func (i installer) Refused(s *raftpb.Snapshot) { i.p.snaps.Refused(s) }
func (i installer) Needed() uint64             { return i.p.snaps.Needed() }

func (i installer) Latest(minIndex uint64) (*raftpb.Snapshot, error) {
	p := i.p
	var snapshot *raftpb.Snapshot
	err := p.mayDieIn(func() (err error) {
		snapshot, err = p.snaps.Latest(minIndex)
		return err
	})
	var d died
	if errors.As(err, &d) {
		// The loop calls this in the middle of a turn; nothing of it leaves.
		p.dying = &d
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return snapshot, err
}

func (i installer) Install(s *raftpb.Snapshot) error {
	p := i.p
	p.s.trace.note(p.s.clock.now, "install", p.host.id, s.GetMetadata().GetIndex())
	p.s.report.Installs++
	first := !p.state.Initialized()
	err := p.mayDieIn(func() error { return p.snaps.Install(s) })
	switch {
	case errors.As(err, new(died)):
		p.s.report.DeathsInstalling++
	case err == nil && first:
		p.s.report.InstalledByJoiners++
	}
	return err
}
