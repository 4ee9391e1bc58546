package statemachine

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/kv"
	"raftkv/statemachine/lease"
	"raftkv/statemachine/mvcc"
)

// view is one state as readers see it. It is immutable.
type view struct {
	meta
	roster
	alarms alarms
	handle *engine.Handle // the database the view belongs to
	sweep  *sweepState    // of that database
	counts *kv.Counts     // of that database
	hot    *mvcc.Hot      // of that database
}

// Machine is the replicated state of one member. It implements the state
// machine that package node asks for.
type Machine struct {
	opts  Options
	store *engine.Store
	view  atomic.Pointer[view]

	// The rest belongs to Apply, Bootstrap and Replace.

	remembered
	writer  mvcc.Writer
	leases  lease.Table
	effects effects
	// Reused for decoding and encoding.
	put          pb.PutRequest
	write        envelope.Write
	frameScratch []byte
	// failed is the error that ended an Apply: what is remembered may then hold
	// what was never written.
	failed error

	compactions compactions
	sweep       *sweep // belongs to SweepStep; nil between sweeps
}

// remembered is what makes a command take effect once: tables of the state
// that Apply keeps in memory.
type remembered struct {
	proposers map[uint64]*proposer
	sessions  *sessions
}

func newRemembered() remembered {
	return remembered{proposers: make(map[uint64]*proposer), sessions: newSessions()}
}

// Open opens the state in a directory, creating an empty one if there is none.
func Open(opts Options) (*Machine, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("opening state: %w", err)
	}
	store, err := engine.Open(opts.engine(), func(db *pebble.DB) (bool, error) {
		m, err := readMeta(db, false)
		return m.initialized, err
	})
	if err != nil {
		return nil, fmt.Errorf("opening state: %w", err)
	}
	m := &Machine{opts: opts, store: store, writer: mvcc.Writer{HeadsBytes: opts.HeadsBytes}}
	v, r, err := load(store.Current())
	if err != nil {
		if closeErr := store.Close(); closeErr != nil {
			err = fmt.Errorf("%w (and closing it: %w)", err, closeErr)
		}
		return nil, fmt.Errorf("opening state in %s: %w", opts.Dir, err)
	}
	m.adopt(v, r)
	return m, nil
}

// load reads everything that is kept in memory.
func load(h *engine.Handle) (*view, remembered, error) {
	v, r := &view{handle: h}, newRemembered()
	var err error
	if v.meta, err = readMeta(h.DB(), false); err != nil {
		return nil, r, err
	}
	v.sweep, v.counts = newSweepState(v.meta.sweepRecord), kv.NewCounts()
	if v.alarms, err = loadAlarms(h.DB()); err != nil {
		return nil, r, err
	}
	err = scanTable(h.DB(), keys.Members, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		if err != nil {
			return err
		}
		m, err := decodeMember(id, value)
		v.members = append(v.members, m)
		return err
	})
	if err != nil {
		return nil, r, err
	}
	err = scanTable(h.DB(), keys.Removed, false, func(key, _ []byte) error {
		id, err := keys.Number(key)
		v.removed = append(v.removed, id)
		return err
	})
	if err != nil {
		return nil, r, err
	}
	err = scanTable(h.DB(), keys.Proposers, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		if err != nil {
			return err
		}
		r.proposers[id], err = decodeProposer(id, value)
		return err
	})
	if err != nil {
		return nil, r, err
	}
	r.sessions, err = loadSessions(h.DB())
	return v, r, err
}

// adopt makes v, of another database or of a first state, the view.
func (m *Machine) adopt(v *view, r remembered) {
	m.remembered = r
	if v.hot == nil {
		v.hot = mvcc.NewHot(m.opts.HotBytes)
	}
	m.view.Store(v)
}

// Initialized tells whether there is a state: made by Bootstrap, or brought by
// Replace.
func (m *Machine) Initialized() bool { return m.view.Load().initialized }

// ClusterID returns the id of the cluster the state belongs to.
func (m *Machine) ClusterID() uint64 { return m.view.Load().clusterID }

// Applied returns the index and term of the last entry applied.
func (m *Machine) Applied() (index, term uint64) {
	v := m.view.Load()
	return v.index, v.term
}

// ConfState returns the raft configuration at the applied index.
func (m *Machine) ConfState() *raftpb.ConfState {
	return proto.CloneOf(m.view.Load().conf)
}

// Revision returns the newest revision of the key space.
func (m *Machine) Revision() int64 { return m.view.Load().revision }

// CompactedRevision returns the oldest revision that can be read, or -1.
func (m *Machine) CompactedRevision() int64 { return m.view.Load().compacted }

// RollingHash returns the hash of all effects up to the applied index: equal
// on all members at equal indexes.
func (m *Machine) RollingHash() (index, hash uint64) {
	v := m.view.Load()
	return v.index, v.hash
}

// Members returns the members of the cluster, sorted by id.
func (m *Machine) Members() []Member {
	members := slices.Clone(m.view.Load().members)
	for i := range members {
		members[i].PeerURLs = slices.Clone(members[i].PeerURLs)
		members[i].ClientURLs = slices.Clone(members[i].ClientURLs)
	}
	return members
}

// RemovedMembers returns the ids of all members ever removed, sorted.
func (m *Machine) RemovedMembers() []uint64 { return slices.Clone(m.view.Load().removed) }

// Size returns the disk space the state uses, in bytes.
func (m *Machine) Size() (int64, error) { return m.store.SizeBytes() }

// Durable returns index, term and ConfState of the newest applied entry that
// would survive a crash now.
func (m *Machine) Durable() (*raftpb.SnapshotMetadata, error) {
	// Of a database that has a view, so that it is never ahead of Applied.
	v, err := m.acquireView()
	if err != nil {
		return nil, err
	}
	defer v.handle.Release()
	durable, err := readMeta(v.handle.DB(), true)
	if err != nil {
		return nil, fmt.Errorf("reading durable state: %w", err)
	}
	if !durable.initialized {
		return nil, ErrNotInitialized
	}
	return durable.snapshotMetadata(), nil
}

// Flush makes everything applied when it was called durable.
func (m *Machine) Flush() error { return m.store.Flush() }

// Close flushes, waits for readers and closes the state. Apply must have
// returned.
func (m *Machine) Close() error {
	if err := m.store.Close(); err != nil {
		return fmt.Errorf("closing state: %w", err)
	}
	return nil
}
