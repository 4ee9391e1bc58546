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
)

// Refounding makes a state the first one of another cluster: same data, other
// members.
type Refounding struct {
	// ClusterID and Members are those of the new cluster; ids of members of the
	// old one must not be used again.
	ClusterID uint64
	Members   []Member
	// BumpRevision is added to the revision, and CompactBelow makes everything
	// before the result unreadable, so that whoever watches or caches the old
	// history notices.
	BumpRevision int64
	CompactBelow bool
	// KeepSessions keeps the sessions of clients, and so the answers to what
	// they retry: right only where the old cluster cannot have gone on.
	KeepSessions bool
}

// ErrRevisionOverflow: a revision would be beyond what clients can count.
var ErrRevisionOverflow = errors.New("statemachine: revision is too large")

// RevisionMax bounds what a Refounding may raise the revision to, far below the
// end of int64, so that the new cluster has room too.
const RevisionMax = 1 << 62

func (r *Refounding) conf() *raftpb.ConfState {
	conf := &raftpb.ConfState{}
	for _, m := range r.Members {
		if m.IsLearner {
			conf.Learners = append(conf.Learners, m.ID)
		} else {
			conf.Voters = append(conf.Voters, m.ID)
		}
	}
	slices.Sort(conf.Voters)
	slices.Sort(conf.Learners)
	return conf
}

// Refound does it; durable on return. The position in the log stays. What is
// forgotten: members, removed ids, alarms, and which batches were applied, since
// their proposers are members of the old cluster.
//
// The result follows from the state and r alone, so that members that are made
// from equal states are equal.
func (m *Machine) Refound(r Refounding) error {
	old := m.view.Load()
	if !old.initialized {
		return ErrNotInitialized
	}
	seed := Seed{ClusterID: r.ClusterID, Index: old.index, Term: old.term, ConfState: r.conf(), Members: r.Members}
	if err := seed.Validate(); err != nil {
		return fmt.Errorf("new cluster: %w", err)
	}
	if r.BumpRevision < 0 || old.revision > RevisionMax-r.BumpRevision {
		return fmt.Errorf("%w: %d raised by %d", ErrRevisionOverflow, old.revision, r.BumpRevision)
	}
	next := *old
	next.clusterID, next.conf, next.alarms = r.ClusterID, proto.CloneOf(seed.ConfState), nil
	next.roster = roster{members: slices.Clone(r.Members)}
	slices.SortFunc(next.members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	next.revision += r.BumpRevision
	if r.CompactBelow {
		next.compacted = next.revision
	}
	m.refoundHash(&next)
	if err := m.writeRefounded(&next, r.KeepSessions); err != nil {
		m.failed = fmt.Errorf("writing the first state of a new cluster: %w", err)
		return m.failed
	}
	v, remembered, err := load(old.handle)
	if err != nil {
		return fmt.Errorf("reading the first state of a new cluster: %w", err)
	}
	m.adopt(v, remembered)
	return nil
}

// refoundHash continues the rolling hash over the refounding.
func (m *Machine) refoundHash(next *view) {
	m.effects.begin(next.hash, next.index, next.term)
	m.effects.kind(effectRefounded)
	m.effects.numbers(next.clusterID, uint64(next.revision), uint64(next.compacted))
	m.effects.flush()
	m.effects.conf(next.conf)
	for i := range next.members {
		m.effects.member(&next.members[i])
	}
	next.hash = m.effects.end()
}

func (m *Machine) writeRefounded(v *view, keepSessions bool) error {
	batch, err := m.store.NewBatch()
	if err != nil {
		return err
	}
	forgotten := []keys.Table{keys.Members, keys.Removed, keys.Alarms, keys.Proposers}
	if !keepSessions {
		forgotten = append(forgotten, keys.Sessions, keys.SessionResults)
	}
	for _, table := range forgotten {
		if err = clearTable(v.handle, batch, table); err != nil {
			return errors.Join(err, batch.Discard())
		}
	}
	return m.commitSeed(batch, v)
}

// clearTable removes all records of a small table.
func clearTable(h *engine.Handle, batch *engine.Batch, table keys.Table) error {
	return scanTable(h.DB(), table, false, func(key, _ []byte) error { return batch.Delete(key) })
}
