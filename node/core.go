package node

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Core is one member's raft state machine with everything around it that has
// to be decided: what to pack, propose and forward, which reads may run, what
// the log and the state machine have to do next. It has no goroutine, clock or
// randomness of its own and does no I/O but reading the log's tail, so a
// simulator can run it on an event heap.
//
// One goroutine at a time (the loop) calls every method but Propose, Abandon,
// Read and Answer, which may be called from anywhere.
type Core struct {
	cfg     Config
	log     Log
	storage *storage
	rn      *raft.RawNode

	proposals *proposals
	gathered  gathered
	changes   changes
	reads     *reads
	holders   []*HolderCount

	tick    uint64
	applied uint64
	// appliedTerm is the term of the last entry applied since the start, 0 if
	// there was none.
	appliedTerm uint64
	learner     bool
	status      Status

	leaderTerm   uint64 // of the last leader counted
	leaderCommit uint64 // highest commit index a leader told us
	catchUpTo    uint64 // nonzero while catching up

	// Appends that wait while a snapshot is being installed; installing is the
	// one that carries it.
	installing *raftpb.Message
	held       []*raftpb.Message

	// Fast failover: CampaignDue is under way, how often it campaigned, and
	// until which tick it repeats.
	campaigning   bool
	campaigns     int
	failoverUntil uint64

	lease     leaderLease
	voters    quorum.JointConfig // as of the last configuration applied
	skipTicks int                // of the first election timeout, see Config.InitialTickAdvance
	confirmed readRounds

	disk       watchdog
	postponed  postponed
	confirming confirming
	commits    commits
	writeBytes int // handed to the log and not durable yet
	flushes    flushes
	backlog    backlog
	slowness   slowness
	heldBytes  int               // of log that releases in a row kept for a follower
	heard      map[uint64]uint64 // when this leader last heard of a member, in ticks
	resendTerm uint64
	resendTo   uint64
	out        Output
	fatal      error
}

// NewCore starts a member from what its log and state machine hold.
func NewCore(cfg Config, log Log, snapshots Snapshots) (*Core, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, log: log, applied: cfg.Applied, leaderCommit: cfg.Applied, heard: make(map[uint64]uint64)}
	c.storage = &storage{Log: log, snapshots: snapshots}
	c.commits = newCommits()
	c.backlog.abreast = make(map[uint64]*abreast)
	c.backlog.log.grain = cfg.BacklogBytesMax / grains
	c.proposals = newProposals(&c.cfg)
	c.gathered = newGathered()
	c.reads = newReads(&c.cfg)
	rn, err := raft.NewRawNode(c.raftConfig())
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	c.rn = rn
	_, conf, err := log.InitialState()
	if err != nil {
		return nil, fmt.Errorf("read initial state: %w", err)
	}
	c.noteConf(conf)
	if c.flushes.log.bytes, err = bytesBeyond(log, cfg.Applied); err != nil {
		return nil, err
	}
	if cfg.PromisedFor > 0 {
		c.lease.promisedUntil = cfg.Now() + cfg.PromisedFor
	}
	if err := c.hurry(len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == cfg.ID); err != nil {
		return nil, err
	}
	c.collect()
	return c, nil
}

// hurry makes the first election come soon, but not before the promises of
// earlier lives have run out.
func (c *Core) hurry(alone bool) error {
	promised := c.promiseLeft()
	switch {
	case alone && promised == 0:
		// Nobody else can be leader, so there is nobody to wait for.
		if err := c.rn.Campaign(); err != nil {
			return fmt.Errorf("campaign as the only voter: %w", err)
		}
	case alone:
		c.failover(promised)
	case c.cfg.InitialTickAdvance:
		c.skipTicks = c.cfg.ElectionTicks - 1
		if promised == 0 {
			for ; c.skipTicks > 0; c.skipTicks-- {
				c.rn.Tick()
			}
		}
	}
	return nil
}

// bytesBeyond is the size of the log's entries that the state machine does not
// hold durably: they count for the next flush.
func bytesBeyond(log Log, applied uint64) (int, error) {
	last, err := log.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("last index of the log: %w", err)
	}
	if last <= applied {
		return 0, nil
	}
	entries, err := log.Entries(applied+1, last+1, math.MaxUint64)
	if err != nil {
		return 0, fmt.Errorf("entries beyond the state: %w", err)
	}
	w := Write{Entries: entries}
	return w.Bytes(), nil
}

func (c *Core) raftConfig() *raft.Config {
	return &raft.Config{
		ID:                        c.cfg.ID,
		ElectionTick:              c.cfg.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   c.storage,
		Applied:                   c.cfg.Applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             appendBytesMax,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          uint64(max(windowFactor*c.cfg.BacklogBytesMax, appendBytesMax)),
		MaxCommittedSizePerReady:  uint64(min(8<<20, c.cfg.BacklogBytesMax)),
		MaxUncommittedEntriesSize: 256 << 20,
		CheckQuorum:               true,
		PreVote:                   !c.cfg.NoPreVote,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{c.cfg.Logger.Sugar()},
	}
}

// Propose queues a command. The caller waits on Done or calls Abandon.
func (c *Core) Propose(command []byte) (*Pending, error) { return c.proposals.enqueue(command) }

// Abandon gives up waiting for p and says what is known of its fate.
func (c *Core) Abandon(p *Pending) Result { return c.proposals.abandon(p) }

// Answer is the callback for StateMachine.Apply.
func (c *Core) Answer(index, proposer, boot, batch uint64, results []any) {
	if proposer == c.cfg.ID && boot == c.cfg.Boot && c.changes.answer(index, batch, results) {
		return
	}
	c.proposals.answer(index, proposer, boot, batch, results)
}

// Read joins the next ReadIndex round. wake asks for a call of Output.
func (c *Core) Read() (round *ReadRound, wake bool, err error) { return c.reads.join() }

// Tick lets one heartbeat interval pass.
func (c *Core) Tick() {
	c.tick++
	c.commits.tick(c.cfg.TickInterval)
	c.putPostponed()
	c.noteLive() // before raft may forget
	c.noteAbreast()
	c.confirming.tick()
	c.tickRaft()
	c.askForLease()
	c.status.Lease = c.leaseHolds()
	c.watchDisk()
	c.resendLost()
}

// resendLost hands batches to the leader again that raft refused or whose
// forward seems lost, and asks again for reads.
func (c *Core) resendLost() {
	basic := c.rn.BasicStatus()
	if basic.Lead == raft.None {
		return
	}
	patience := uint64(c.cfg.ElectionTicks)
	for _, b := range c.proposals.unresolved() {
		refused := b.sentTerm == 0
		forwarded := b.sentTo != c.cfg.ID || b.sentTerm != basic.GetTerm()
		if refused || forwarded && c.tick-b.sentTick >= patience {
			c.hand(b, basic.Lead, basic.GetTerm())
		}
	}
	c.retryReads(basic.GetTerm())
}

func (c *Core) retryReads(term uint64) {
	for _, context := range c.reads.retry(c.tick, term, uint64(c.cfg.ElectionTicks+1)/2) {
		c.readIndex(context)
	}
}

// heldMax bounds the appends that wait behind a snapshot that is installed.
const heldMax = 256

// Step takes a message of a peer. Raft tolerates loss, so a message that would
// overload the log is dropped (invariant 5).
func (c *Core) Step(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgApp && (c.writeBytes >= c.cfg.WriteBytesMax || len(c.held) >= heldMax) {
		return
	}
	switch m.GetType() {
	case raftpb.MsgApp:
		c.leaderCommit = max(c.leaderCommit, m.GetCommit())
	case raftpb.MsgVote, raftpb.MsgPreVote:
		if c.breaksPromise(m) {
			return
		}
	case raftpb.MsgTransferLeader:
		c.giveUpLease()
	case raftpb.MsgReadIndex:
		c.awaited(m.GetFrom())
		if c.rn.BasicStatus().RaftState == raft.StateLeader && len(m.GetEntries()) == 1 {
			c.readFor(readRequest{m.GetFrom(), m.GetEntries()[0].GetData()})
			return
		}
	case raftpb.MsgHeartbeatResp:
		c.confirming.answered(m.GetFrom())
	case raftpb.MsgProp:
		// Peers forward batches by StepForwarded only.
		return
	}
	c.step(m)
	if m.GetType() == raftpb.MsgSnap {
		// What raft accepts it hands out at once.
		c.collect()
		if !c.willInstall(m.GetSnapshot()) {
			c.storage.snapshots.Refused(m.GetSnapshot())
		}
	}
}

// willInstall says whether raft has accepted a snapshot that is not installed yet.
func (c *Core) willInstall(s *raftpb.Snapshot) bool {
	same := func(m *raftpb.Message) bool { return proto.Equal(m.GetSnapshot(), s) }
	return c.installing != nil && same(c.installing) || slices.ContainsFunc(c.held, same)
}

// step hands m to raft. The only errors are about peers that are no longer
// members and proposals without a leader, and both mean that m is dropped.
func (c *Core) step(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgPreVoteResp && c.breaksPromise(m) {
		return // also this member's own
	}
	if err := c.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) && !errors.Is(err, raft.ErrProposalDropped) {
		c.cfg.Logger.Sugar().Warnf("raft refused a %s from %x: %v", m.GetType(), m.GetFrom(), err)
	}
}

// StepForwarded takes a batch of another member, to be proposed with what else
// has come together. It is dropped unless this member leads and has room; the
// other member hands it on again later.
func (c *Core) StepForwarded(from uint64, data []byte) {
	basic := c.rn.BasicStatus()
	if basic.RaftState != raft.StateLeader || c.writeBytes >= c.cfg.WriteBytesMax {
		return
	}
	if err := c.cfg.Check(from, data); err != nil {
		c.cfg.Logger.Sugar().Errorf("refused a batch of commands from member %x: %v", from, err)
		return
	}
	c.awaited(from)
	c.gathered.begin(basic.GetTerm())
	_ = c.gathered.add(data, c.cfg.WriteBytesMax-c.writeBytes) // refused means dropped
}

// ReportUnreachable tells raft that messages to a peer were lost.
func (c *Core) ReportUnreachable(id uint64) {
	c.confirming.lost()
	delete(c.backlog.abreast, id)
	c.rn.ReportUnreachable(id)
}

// ReportSnapshot tells raft how the streaming of a snapshot ended.
func (c *Core) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	c.rn.ReportSnapshot(id, status)
}

// WriteDone reports that a group of writes is durable. Responses to other
// members have been sent by the caller; own are the ones to this member.
func (c *Core) WriteDone(bytes int, own []*raftpb.Message) {
	c.writeBytes -= bytes
	c.disk.done(bytes)
	for _, m := range own {
		c.step(m)
	}
}

// ApplyDone reports that tasks of the applier are done up to index. conf is the
// ConfState a configuration change at the end of entries led to, nil if it was
// refused or there was none.
func (c *Core) ApplyDone(task Apply, conf *raftpb.ConfState) {
	if task.Install != nil {
		c.installed(task.Install)
		return
	}
	last := task.Entries[len(task.Entries)-1]
	c.applied, c.appliedTerm = last.GetIndex(), last.GetTerm()
	if isConfChange(last) && conf != nil {
		c.applyConf(last, conf)
	}
	c.settleChange()
	for _, m := range task.Responses {
		c.step(m)
	}
	c.reads.release(c.applied)
}

// Stop answers everything that waits.
func (c *Core) Stop() {
	c.proposals.stop()
	c.changes.stop()
	c.reads.stop()
}

// Status returns this member's view of itself, as of the last Output.
func (c *Core) Status() Status { return c.status }

// Fatal returns the reason why the member must stop, if there is one.
func (c *Core) Fatal() error { return c.fatal }
