package node

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Core is one member's raft state machine with everything around it that has
// to be decided: what to pack, propose and forward, which reads may run, what
// the log and the state machine have to do next. It has no goroutine, clock or
// randomness of its own and does no I/O but reading the log's tail, so a
// simulator can run it on an event heap.
//
// One goroutine (the loop) calls every method but Propose, Abandon, Read and
// Answer, which may be called from anywhere.
type Core struct {
	cfg     Config
	log     Log
	storage *storage
	rn      *raft.RawNode

	proposals *proposals
	reads     *reads
	holders   []*HolderCount

	tick    uint64
	applied uint64
	learner bool
	status  Status

	leaderCommit uint64 // highest commit index a leader told us
	catchUpTo    uint64 // nonzero while catching up

	// Appends that wait while a snapshot is being installed; installing is the
	// one that carries it.
	installing *raftpb.Message
	held       []*raftpb.Message

	// Fast failover: CampaignDue is under way, and until which tick it repeats.
	campaigning   bool
	failoverUntil uint64

	writeBytes  int // handed to the log and not durable yet
	unflushed   int // bytes of log entries since the last flush began
	flushing    bool
	resendTerm  uint64
	resendTo    uint64
	out         Output
	fatal       error
	readRetries uint64
}

// Output is what the core wants done. Writes go to the log in order, Applies to
// the state machine in order; messages may be sent at once.
type Output struct {
	Messages []*raftpb.Message
	Forwards []Forward
	Writes   []Write
	Applies  []Apply
	// Flush asks for StateMachine.Flush, answered by FlushDone.
	Flush bool
	// CampaignAfter, if not 0, asks for a call of CampaignDue after that time.
	CampaignAfter time.Duration
}

// Forward is a packed batch for the leader.
type Forward struct {
	To    uint64
	Batch []byte
}

// Write is one task of the log writer. Exactly one of Append, Reset and Release
// describes it.
type Write struct {
	// HardState and Entries of an append, with the messages that may leave only
	// once they are durable (invariant 1).
	HardState *raftpb.HardState
	Entries   []*raftpb.Entry
	Responses []*raftpb.Message
	// Reset restarts the log behind this installed snapshot, then appends.
	Reset *raftpb.SnapshotMetadata
	// Release gives log space back.
	Release  *raftpb.SnapshotMetadata
	Unneeded uint64
}

// Apply is one task of the applier: entries, or a snapshot to install.
type Apply struct {
	// Entries to apply; only the last can be a configuration change.
	Entries []*raftpb.Entry
	// Install names a snapshot that replaces the state.
	Install *raftpb.Snapshot
	// Responses are handed back with ApplyDone.
	Responses []*raftpb.Message
}

// NewCore starts a member from what its log and state machine hold.
func NewCore(cfg Config, log Log, snapshots Snapshots) (*Core, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, log: log, applied: cfg.Applied, leaderCommit: cfg.Applied}
	c.storage = &storage{Log: log, snapshots: snapshots}
	c.proposals = newProposals(&c.cfg)
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
	if len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == cfg.ID {
		// Nobody else can be leader, so there is nobody to wait for.
		if err := rn.Campaign(); err != nil {
			return nil, fmt.Errorf("campaign as the only voter: %w", err)
		}
	} else if cfg.InitialTickAdvance {
		for range cfg.ElectionTicks - 1 {
			rn.Tick()
		}
	}
	c.collect()
	return c, nil
}

func (c *Core) raftConfig() *raft.Config {
	return &raft.Config{
		ID:                        c.cfg.ID,
		ElectionTick:              c.cfg.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   c.storage,
		Applied:                   c.cfg.Applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             1 << 20,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          32 << 20,
		MaxCommittedSizePerReady:  8 << 20,
		MaxUncommittedEntriesSize: 256 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{c.cfg.Logger.Sugar()},
	}
}

func (c *Core) noteConf(conf *raftpb.ConfState) {
	c.learner = false
	for _, id := range append(conf.GetLearners(), conf.GetLearnersNext()...) {
		c.learner = c.learner || id == c.cfg.ID
	}
}

// Propose queues a command. The caller waits on Done or calls Abandon.
func (c *Core) Propose(command []byte) (*Pending, error) { return c.proposals.enqueue(command) }

// Abandon gives up waiting for p and says what is known of its fate.
func (c *Core) Abandon(p *Pending) Result { return c.proposals.abandon(p) }

// Answer is the callback for StateMachine.Apply.
func (c *Core) Answer(index, proposer, boot, batch uint64, results []any) {
	c.proposals.answer(index, proposer, boot, batch, results)
}

// Read joins the next ReadIndex round. first asks for a call of Pump.
func (c *Core) Read() (round *ReadRound, first bool, err error) { return c.reads.join() }

// Tick lets one heartbeat interval pass.
func (c *Core) Tick() {
	c.tick++
	c.rn.Tick()
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
		c.readRetries++
		c.rn.ReadIndex(context)
	}
}

// Step takes a message of a peer. Raft tolerates loss, so a message that would
// overload the log is dropped (invariant 5).
func (c *Core) Step(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgApp && c.writeBytes >= c.cfg.WriteBytesMax {
		return
	}
	switch m.GetType() {
	case raftpb.MsgApp:
		c.leaderCommit = max(c.leaderCommit, m.GetCommit())
	case raftpb.MsgProp:
		// Peers forward batches by StepForwarded only.
		return
	}
	c.step(m)
}

// step hands m to raft. The only errors are about peers that are no longer
// members and proposals without a leader, and both mean that m is dropped.
func (c *Core) step(m *raftpb.Message) {
	if err := c.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) && !errors.Is(err, raft.ErrProposalDropped) {
		c.cfg.Logger.Sugar().Warnf("raft refused a %s from %x: %v", m.GetType(), m.GetFrom(), err)
	}
}

// StepForwarded proposes a batch of another member. It is dropped unless this
// member leads; the other member hands it on again when it learns of the
// leader.
func (c *Core) StepForwarded(data []byte) {
	if c.rn.BasicStatus().RaftState == raft.StateLeader {
		_ = c.rn.Propose(data) // refused means dropped
	}
}

// ReportUnreachable tells raft that messages to a peer were lost.
func (c *Core) ReportUnreachable(id uint64) { c.rn.ReportUnreachable(id) }

// ReportSnapshot tells raft how the streaming of a snapshot ended.
func (c *Core) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	c.rn.ReportSnapshot(id, status)
}

// TransferLeader starts to hand leadership to the voter that holds most of the
// log, and returns it; 0 if this member does not lead or nobody can take over.
func (c *Core) TransferLeader() uint64 {
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		return 0
	}
	var best, match uint64
	c.eachVoter(func(id, m uint64, active bool) {
		if id != c.cfg.ID && active && m > match {
			best, match = id, m
		}
	})
	if best != 0 {
		c.rn.TransferLeader(best)
	}
	return best
}

// WriteDone reports that a group of writes is durable. Responses to other
// members have been sent by the caller; own are the ones to this member.
func (c *Core) WriteDone(bytes int, own []*raftpb.Message) {
	c.writeBytes -= bytes
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
	c.applied = last.GetIndex()
	if isConfChange(last) && conf != nil {
		c.applyConf(last, conf)
	}
	for _, m := range task.Responses {
		c.step(m)
	}
	c.reads.release(c.applied)
}

// applyConf activates a configuration change. The state machine computed the
// same ConfState from the same entry; if raft disagrees the two would count
// different quorums, so the node must not go on.
func (c *Core) applyConf(e *raftpb.Entry, want *raftpb.ConfState) {
	change, err := decodeConfChange(e)
	if err != nil {
		c.fatal = fmt.Errorf("configuration change at index %d: %w", e.GetIndex(), err)
		return
	}
	got := c.rn.ApplyConfChange(change)
	if err := got.Equivalent(want); err != nil {
		c.fatal = fmt.Errorf("raft and the state machine disagree about the members after index %d: %w", e.GetIndex(), err)
		return
	}
	c.noteConf(got)
}

func isConfChange(e *raftpb.Entry) bool { return e.GetType() != raftpb.EntryNormal }

func decodeConfChange(e *raftpb.Entry) (raftpb.ConfChangeI, error) {
	if e.GetType() == raftpb.EntryConfChange {
		cc := new(raftpb.ConfChange)
		return cc, proto.Unmarshal(e.GetData(), cc)
	}
	cc := new(raftpb.ConfChangeV2)
	return cc, proto.Unmarshal(e.GetData(), cc)
}

// FlushDone reports what the state machine now holds durably; the log behind it
// can go.
func (c *Core) FlushDone(durable *raftpb.SnapshotMetadata) {
	c.flushing = false
	if durable.GetIndex() > 0 {
		c.out.Writes = append(c.out.Writes, Write{Release: durable, Unneeded: c.applied})
	}
}

// Stop answers everything that waits.
func (c *Core) Stop() {
	c.proposals.stop()
	c.reads.stop()
}

// Status returns this member's view of itself, as of the last Output.
func (c *Core) Status() Status { return c.status }

// Fatal returns the reason why the member must stop, if there is one.
func (c *Core) Fatal() error { return c.fatal }
