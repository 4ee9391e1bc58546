package statemachine

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// application is one call of Apply under way.
type application struct {
	m     *Machine
	batch *engine.Batch
	next  *view // what readers see when the batch is committed
	// touched lists the proposers whose records the batch has to write, used
	// the sessions.
	touched []uint64
	used    []*session
	answers []answer
	place   uint64            // of the command being applied, see placeOf
	conf    *raftpb.ConfState // set by a configuration change that took effect
	// compactions are those of the entries, in order.
	compactions []compaction
	// before is the revision before the entries; collected are the changes, if
	// somebody wants them.
	before    int64
	collected *collector
	// leaseChanges are those of the entries, in order.
	leaseChanges []LeaseChange
	// switched is what LeaseReads was before the entries.
	switched time.Duration
}

// answer is what the caller is told about one envelope.
type answer struct {
	index, proposer, boot, batch uint64
	results                      []any
}

// Apply applies consecutive entries as one atomic batch; see the contract of
// package node. It never waits for the disk, except when Pebble cannot flush
// as fast as it is written to.
//
// Results are messages of etcdserverpb, their header's revision filled (not
// for members, where etcd leaves it empty), or errors. An envelope of a
// configuration change has one result.
func (m *Machine) Apply(entries []*raftpb.Entry, report func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	if m.failed != nil {
		return nil, m.failed
	}
	if len(entries) == 0 {
		return nil, nil
	}
	a, err := m.apply(entries)
	if err != nil {
		m.failed = fmt.Errorf("applying entries from index %d: %w", entries[0].GetIndex(), err)
		return nil, m.failed
	}
	// First: a sweep takes up to a revision only once readers know it is gone.
	m.compactions.add(a.compactions)
	m.view.Store(a.next)
	m.advance(a.before, a.next.revision, a.collected)
	if len(a.compactions) > 0 {
		m.opts.OnCompaction()
	}
	if a.next.leaseReads != a.switched {
		m.opts.OnLeaseReads()
	}
	if len(a.leaseChanges) > 0 {
		m.opts.OnLeases(a.leaseChanges)
	}
	for i := range a.answers {
		r := &a.answers[i]
		report(r.index, r.proposer, r.boot, r.batch, r.results)
	}
	return proto.CloneOf(a.conf), nil
}

func (m *Machine) apply(entries []*raftpb.Entry) (*application, error) {
	v := m.view.Load()
	if !v.initialized {
		return nil, ErrNotInitialized
	}
	h, err := m.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer h.Release()
	batch, err := m.store.NewBatch()
	if err != nil {
		return nil, err
	}
	next := *v
	a := &application{m: m, batch: batch, next: &next, answers: make([]answer, 0, len(entries)), before: v.revision, switched: v.leaseReads}
	var recorder mvcc.Recorder
	recorder, a.collected = m.recorder()
	m.leases.Start(h.DB(), batch)
	defer m.leases.Finish()
	m.writer.Hot = v.hot
	m.writer.Start(h.DB(), batch, recorder, &m.leases, v.revision, v.compacted)
	err = a.entries(entries)
	if err = errors.Join(err, m.writer.Finish()); err != nil {
		return nil, errors.Join(err, batch.Discard())
	}
	return a, batch.Commit()
}

func (a *application) entries(entries []*raftpb.Entry) error {
	for i, e := range entries {
		if e.GetIndex() != a.next.index+1 || e.GetTerm() < a.next.term {
			return fmt.Errorf("%w: index %d of term %d follows index %d of term %d",
				ErrOutOfOrder, e.GetIndex(), e.GetTerm(), a.next.index, a.next.term)
		}
		isChange := e.GetType() != raftpb.EntryNormal
		if isChange && i != len(entries)-1 {
			return fmt.Errorf("%w: configuration change at index %d is not the last entry of its call", ErrOutOfOrder, e.GetIndex())
		}
		a.m.effects.begin(a.next.hash, e.GetIndex(), e.GetTerm())
		a.next.index, a.next.term = e.GetIndex(), e.GetTerm()
		var err error
		if isChange {
			err = a.configurationChange(e)
		} else if len(e.GetData()) > 0 {
			err = a.normal(e)
		}
		if err != nil {
			return fmt.Errorf("index %d: %w", e.GetIndex(), err)
		}
		a.next.hash = a.m.effects.end()
	}
	return a.finish()
}

// normal applies an entry whose data is an envelope.
func (a *application) normal(e *raftpb.Entry) error {
	env, err := decodeEnvelope(e.GetData())
	if err != nil {
		return err
	}
	if !a.admit(&env) {
		return nil
	}
	results := make([]any, len(env.Commands))
	for i := range env.Commands {
		a.place = placeOf(e.GetIndex(), i)
		if results[i], err = a.sequenced(&env.Commands[i]); err != nil {
			return fmt.Errorf("command %d of batch %d of proposer %x: %w", i, env.Batch, env.Proposer, err)
		}
	}
	a.answer(e, &env, results)
	return nil
}

func decodeEnvelope(data []byte) (envelope.Envelope, error) {
	env, err := envelope.Decode(data)
	if err != nil {
		return env, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	if env.Proposer == 0 || env.Batch == 0 {
		return env, fmt.Errorf("%w: batch %d of proposer %x", ErrMalformedEntry, env.Batch, env.Proposer)
	}
	return env, checkKnown(Version(env.ClusterVersion))
}

// admit tells whether an envelope is to be applied: not if it was before.
func (a *application) admit(env *envelope.Envelope) bool {
	p := a.m.proposers[env.Proposer]
	if p == nil {
		p = &proposer{}
		a.m.proposers[env.Proposer] = p
	}
	if !p.admit(env.Boot, env.Batch) {
		return false
	}
	a.m.effects.batch(env.Proposer, env.Boot, env.Batch)
	for _, id := range a.touched {
		if id == env.Proposer {
			return true
		}
	}
	a.touched = append(a.touched, env.Proposer)
	return true
}

func (a *application) answer(e *raftpb.Entry, env *envelope.Envelope, results []any) {
	a.answers = append(a.answers, answer{index: e.GetIndex(),
		proposer: env.Proposer, boot: env.Boot, batch: env.Batch, results: results})
}

// finish writes what every batch holds beside its effects (invariant 3 of the
// design).
func (a *application) finish() error {
	if err := a.m.writer.Complete(); err != nil {
		return err
	}
	a.next.revision, a.next.compacted = a.m.writer.Revision(), a.m.writer.Compacted()
	a.next.written += a.m.writer.Written()
	for _, id := range a.touched {
		if err := a.batch.Set(keys.Numbered(keys.Proposers, id), a.m.proposers[id].encode()); err != nil {
			return err
		}
	}
	if err := a.writeSessions(); err != nil {
		return err
	}
	return a.batch.Set(keys.Named(keys.Meta, metaApplied), a.next.progress.encode())
}
