package sim

import (
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

// Bug is a fault put into the members on purpose, to see that the checks find
// it.
type Bug int

// The planted bugs.
const (
	NoBug Bug = iota
	// AcknowledgeBeforeDurable: the log writer lets the responses go before it
	// has written.
	AcknowledgeBeforeDurable
	// SkippedFsync: the log's disk keeps the last write in its cache and says
	// that it is durable.
	SkippedFsync
	// ForgottenVote: the log keeps the term, not the vote.
	ForgottenVote
	// StaleRead: reads are served from the local state without ReadIndex.
	StaleRead
	// AppliedTwice: the state machine does not recognise a batch that it has
	// applied.
	AppliedTwice
	// SecondLife: a member whose directory was removed comes back under its id,
	// and nobody minds.
	SecondLife
	// SkippedInstall: a watcher takes what its member got by a snapshot for told.
	SkippedInstall
	// LateRevocation: a leader revokes leases by its own clock, without asking
	// whether it still leads, and a later leader carries it out.
	LateRevocation
	// WithoutSession: the member that proposes a frame forgets whose it is.
	WithoutSession
	// StoppedClocks: the clock of a machine stands still while its member is paused.
	StoppedClocks
	// RunawayClocks: the clocks of some machines are ten times as fast as others'.
	RunawayClocks
	// ForgottenPromise: a member that restarts does not know that it has promised
	// its leader not to help others to win.
	ForgottenPromise
	// EarlyCandidacy: a member asks for votes before its term is durable.
	EarlyCandidacy
	// EndlessPatience: a leader waits for a follower that is behind until it has
	// caught up, however long that takes.
	EndlessPatience
)

func (b Bug) String() string {
	return [...]string{"no bug", "acknowledge before durable", "skipped fsync", "forgotten vote", "stale read", "applied twice", "second life", "skipped install", "late revocation", "without session", "stopped clocks", "runaway clocks", "forgotten promise", "early candidacy", "endless patience"}[b]
}

// acknowledgeEarly sends the responses of what is about to be written.
func (p *process) acknowledgeEarly() {
	for i := range p.inflight {
		for _, m := range p.inflight[i].Responses {
			if m.GetTo() != p.host.id {
				p.s.check.acknowledged(p, m)
				p.send(m)
			}
		}
	}
}

// standEarly sends the requests for votes of what is still to be written.
func (p *process) standEarly(writes []node.Write) {
	for i := range writes {
		for _, m := range writes[i].Responses {
			if m.GetType() == raftpb.MsgVote {
				p.send(m)
			}
		}
	}
}

// lazySegments hold the last write back until the next one comes.
type lazySegments struct {
	wal.Segments
	state   *raftpb.HardState
	entries []*raftpb.Entry
}

// Save implements wal.Segments.
func (l *lazySegments) Save(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	err := l.writeBack()
	l.state, l.entries = hs, entries
	return err
}

// SaveSnapshot implements wal.Segments.
func (l *lazySegments) SaveSnapshot(meta *raftpb.SnapshotMetadata) error {
	if err := l.writeBack(); err != nil {
		return err
	}
	return l.Segments.SaveSnapshot(meta)
}

func (l *lazySegments) writeBack() error {
	if l.state == nil && l.entries == nil {
		return nil
	}
	hs, entries := l.state, l.entries
	l.state, l.entries = nil, nil
	return l.Segments.Save(hs, entries)
}

// forgetfulLog loses votes.
type forgetfulLog struct{ *wal.Log }

// InitialState implements node.Log.
func (l forgetfulLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, conf, err := l.Log.InitialState()
	return withoutVote(hs), conf, err
}

// Append implements node.Log.
func (l forgetfulLog) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	return l.Log.Append(withoutVote(hs), entries)
}

// Reset implements node.Log.
func (l forgetfulLog) Reset(meta *raftpb.SnapshotMetadata, hs *raftpb.HardState, entries []*raftpb.Entry) error {
	return l.Log.Reset(meta, withoutVote(hs), entries)
}

func withoutVote(hs *raftpb.HardState) *raftpb.HardState {
	if hs == nil {
		return nil
	}
	return &raftpb.HardState{Term: new(hs.GetTerm()), Vote: new(uint64(0)), Commit: new(hs.GetCommit())}
}

// forgetfulState gives every envelope a name of its own, so that the state
// machine never recognises one.
type forgetfulState struct{ node.StateMachine }

// Apply implements node.StateMachine.
func (f forgetfulState) Apply(entries []*raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	renamed := make([]*raftpb.Entry, len(entries))
	batches := map[uint64]uint64{}
	for i, e := range entries {
		renamed[i] = e
		env, err := envelope.Decode(e.GetData())
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 || err != nil {
			continue
		}
		batches[e.GetIndex()] = env.Batch
		var commands [][]byte
		for _, c := range env.Commands {
			commands = append(commands, envelope.EncodeCommand(c))
		}
		env.Batch = e.GetIndex()
		renamed[i] = &raftpb.Entry{Type: e.Type, Term: e.Term, Index: e.Index, Data: envelope.Pack(env, commands)}
	}
	return f.StateMachine.Apply(renamed, func(index, proposer, boot, _ uint64, results []any) {
		answer(index, proposer, boot, batches[index], results)
	})
}
