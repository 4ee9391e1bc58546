package statemachine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// Seed is the state a new cluster starts from, the same on all its members.
type Seed struct {
	ClusterID uint64
	// Index and Term are those of the log position the state stands for.
	Index, Term uint64
	ConfState   *raftpb.ConfState
	Members     []Member
}

// Validate reports all faults at once.
func (s *Seed) Validate() error {
	var errs []error
	if s.ClusterID == 0 {
		errs = append(errs, errors.New("cluster id is 0"))
	}
	if s.Index == 0 || s.Term == 0 {
		errs = append(errs, fmt.Errorf("index %d and term %d must be at least 1", s.Index, s.Term))
	}
	if len(s.ConfState.GetVoters()) == 0 {
		errs = append(errs, errors.New("there are no voters"))
	}
	if len(s.ConfState.GetVotersOutgoing()) > 0 || len(s.ConfState.GetLearnersNext()) > 0 {
		errs = append(errs, errors.New("the configuration is joint"))
	}
	configured := make(map[uint64]bool) // id -> is a learner
	for _, id := range s.ConfState.GetVoters() {
		configured[id] = false
	}
	for _, id := range s.ConfState.GetLearners() {
		configured[id] = true
	}
	for _, m := range s.Members {
		learner, ok := configured[m.ID]
		if !ok || learner != m.IsLearner {
			errs = append(errs, fmt.Errorf("member %x (learner: %t) is not in the configuration, or twice in the list", m.ID, m.IsLearner))
		}
		delete(configured, m.ID)
	}
	if len(configured) > 0 {
		errs = append(errs, fmt.Errorf("%d ids of the configuration are no members", len(configured)))
	}
	return errors.Join(errs...)
}

// Bootstrap puts the seed into an empty state; durable on return.
func (m *Machine) Bootstrap(seed Seed) error {
	v := m.view.Load()
	if v.initialized {
		return ErrAlreadyInitialized
	}
	if err := seed.Validate(); err != nil {
		return fmt.Errorf("seed of a new cluster: %w", err)
	}
	next := &view{handle: v.handle, sweep: v.sweep, counts: v.counts}
	next.initialized, next.clusterID, next.conf = true, seed.ClusterID, proto.CloneOf(seed.ConfState)
	next.members = slices.Clone(seed.Members)
	slices.SortFunc(next.members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	next.progress = progress{index: seed.Index, term: seed.Term,
		revision: mvcc.FirstRevision, compacted: mvcc.NeverCompacted}
	m.effects.begin(seed.ClusterID, seed.Index, seed.Term)
	m.effects.conf(next.conf)
	for i := range next.members {
		m.effects.member(&next.members[i])
	}
	next.hash = m.effects.end()
	if err := m.writeSeed(next); err != nil {
		m.failed = fmt.Errorf("writing the seed of a new cluster: %w", err)
		return m.failed
	}
	m.adopt(next, newRemembered())
	return nil
}

func (m *Machine) writeSeed(v *view) error {
	batch, err := m.store.NewBatch()
	if err != nil {
		return err
	}
	return m.commitSeed(batch, v)
}

// commitSeed completes a batch by the records that make v the first state of a
// cluster; durable on return.
func (m *Machine) commitSeed(batch *engine.Batch, v *view) error {
	err := errors.Join(
		batch.Set(keys.Named(keys.Meta, metaFormat), encodeFormat(v.clusterID)),
		batch.Set(keys.Named(keys.Meta, metaApplied), v.progress.encode()),
		setConf(batch, v.conf),
	)
	for i := range v.members {
		err = errors.Join(err, setMember(batch, &v.members[i]))
	}
	if err != nil {
		return errors.Join(err, batch.Discard())
	}
	if err := batch.Commit(); err != nil {
		return err
	}
	return m.store.Flush()
}
