package sim

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/snap"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

const clusterID = 0xc1

// anchor is the log position that the seeded state of a new cluster stands for.
func (s *simulation) anchor() *raftpb.SnapshotMetadata {
	voters := make([]uint64, Members)
	for i := range voters {
		voters[i] = uint64(i + 1)
	}
	return &raftpb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: voters}}
}

// nothing is the position of a state that is still to come.
func nothing() *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: new(uint64(0)), Term: new(uint64(0)), ConfState: &raftpb.ConfState{}}
}

func (p *process) openState() (*statemachine.Machine, error) {
	id := p.host.id
	return statemachine.Open(statemachine.Options{
		Dir: stateDir, FS: p.fs, ManualCompaction: true, CacheBytes: 1 << 20, Follower: p.feed, OnLeases: p.leasesChanged,
		OnFatal: func(err error) { p.s.fail("member %d: state: %v", id, err) },
	})
}

// createRooms makes the seeded state and the log behind it.
func (p *process) createRooms() error {
	m, err := p.openState()
	if err != nil {
		return err
	}
	if p.host.joins {
		return errors.Join(m.Close(), p.host.disk.log.Create(nothing()))
	}
	anchor := p.s.anchor()
	seed := statemachine.Seed{ClusterID: clusterID, Index: anchor.GetIndex(), Term: anchor.GetTerm(), ConfState: anchor.GetConfState()}
	seed.Members = founders()
	if err := errors.Join(m.Bootstrap(seed), m.Close()); err != nil {
		return err
	}
	return p.host.disk.log.Create(anchor)
}

// openRooms opens the state, and the log at the position of the state.
func (p *process) openRooms() error {
	m, err := p.openState()
	if err != nil {
		return err
	}
	p.state = m
	if p.snaps, err = snap.New(snap.Options{Dir: snapDir, State: m, FS: p.fs, Synchronous: true, Immutable: statemachine.ImmutableFile}); err != nil {
		return err
	}
	return p.openLog()
}

func (p *process) openLog() error {
	disk := p.host.disk
	segments, err := disk.log.Open()
	if err != nil {
		return err
	}
	p.image = newImage(disk.log, segments)
	segments = p.image
	if p.s.opts.Planted == SkippedFsync {
		p.lazy = &lazySegments{Segments: segments}
		segments = p.lazy
	}
	index, term := p.state.Applied()
	position := &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: p.state.ConfState()}
	if !p.state.Initialized() {
		position = nothing()
	}
	opts := wal.Options{Metadata: disk.metadata, MemoryBytes: p.s.opts.logMemoryBytes}
	p.log, err = wal.OpenOn(segments, opts, position)
	p.segments = disk.log.Segments()
	return err
}

// close gives back what a dead process held in memory.
func (p *process) close() error {
	var errs []error
	for _, s := range p.saves {
		errs = append(errs, s.file.Close())
	}
	p.saves = nil
	if p.core != nil {
		p.core.Stop()
	}
	if p.snaps != nil {
		errs = append(errs, p.snaps.Close())
	}
	if p.state != nil {
		errs = append(errs, p.state.Close())
	}
	return errors.Join(errs...)
}

func (p *process) pack(batch uint64, commands [][]byte) []byte {
	return envelope.Pack(envelope.Envelope{Proposer: p.host.id, Boot: p.boot, Batch: batch}, commands)
}

// rangeNow reads a key from the local state.
func (p *process) rangeNow(key string) (*pb.RangeResponse, error) {
	return p.state.Range(context.Background(), &pb.RangeRequest{Key: []byte(key)})
}

// stateForApply is the state, or one with a planted bug.
func (p *process) stateForApply() node.StateMachine {
	if p.s.opts.Planted == AppliedTwice {
		return forgetfulState{p.state}
	}
	return p.state
}

// logForCore is the log, or one with a planted bug.
func (p *process) logForCore() node.Log {
	if p.s.opts.Planted == ForgottenVote {
		return forgetfulLog{p.log}
	}
	return p.log
}

// durable is the position that a crash now would leave the state at.
func (p *process) durable() (*raftpb.SnapshotMetadata, error) {
	durable, err := p.state.Durable()
	if errors.Is(err, statemachine.ErrNotInitialized) {
		return nothing(), nil
	}
	return durable, err
}
