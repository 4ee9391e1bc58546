package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/server/identity"
	"raftkv/snap"
	"raftkv/statemachine"
	"raftkv/wal"
)

// rooms are the ground floor of one member and what its directory says.
type rooms struct {
	cfg          *Config
	admission    *admission
	observeFsync func(time.Duration)

	dir         *identity.Dir // nil in memory mode
	ledger      *identity.Ledger
	incarnation uint64
	boot        uint64
	complete    bool
	prepared    bool // made offline: nothing is to be created

	machine *statemachine.Machine
	snaps   *snap.Store
	log     *wal.Log // nil until openLog
}

// owner names the member that a directory belongs to.
type owner struct{ clusterID, memberID uint64 }

// seedIndex is the raft index and term of the state that a new cluster starts
// from: the log begins behind it.
const seedIndex, seedTerm = 1, 1

// openRooms opens what can be opened before the member is admitted: everything
// but the log of a complete directory. compacted is told of compactions, follower
// of what is applied, leases of what became of leases, leaseReads that lease reads
// may be on or off.
func openRooms(cfg *Config, a *admission, fatal func(error), observeFsync func(time.Duration), compacted func(), follower statemachine.Follower, leases func([]statemachine.LeaseChange), leaseReads func()) (r *rooms, err error) {
	r = &rooms{cfg: cfg, admission: a, observeFsync: observeFsync}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
			r = nil
		}
	}()
	stateDir, snapDir, fs, err := r.openDirectory()
	if err != nil {
		return r, err
	}
	plan := planMemory(cfg.MemoryBudgetBytes)
	r.machine, err = statemachine.Open(statemachine.Options{
		Dir: stateDir, FS: fs, Logger: cfg.Logger, OnFatal: fatal, OnCompaction: compacted, Follower: follower, OnLeases: leases, OnLeaseReads: leaseReads,
		MemTableBytes: spreadMemTable(plan.memTableBytes, r.incarnation), CacheBytes: plan.cacheBytes, HeadsBytes: plan.headsBytes, HotBytes: plan.hotBytes,
		ResponseBytesMax: cfg.MaxResponseBytes,
	})
	if err != nil {
		return r, fmt.Errorf("open the state in %s: %w", stateDir, err)
	}
	r.snaps, err = snap.New(snap.Options{Dir: snapDir, FS: fs, State: r.machine, Logger: cfg.Logger, Immutable: statemachine.ImmutableFile})
	if err != nil {
		return r, err
	}
	if !r.complete && !r.prepared {
		return r, r.create()
	}
	if !r.machine.Initialized() && !a.joined {
		return r, fmt.Errorf("the state in %s is damaged: it is empty, but this member has taken part in a cluster; remove this member and add it again with an empty data directory", stateDir)
	}
	return r, nil
}

// openDirectory opens the data directory, or stands in for one in memory mode.
func (r *rooms) openDirectory() (stateDir, snapDir string, fs vfs.FS, err error) {
	if r.cfg.Memory {
		r.ledger = identity.NewLedger(identity.Records{}, func(identity.Records) error { return nil })
		r.incarnation, r.boot = rand.Uint64()|1, 1
		return "state", "snap", vfs.NewMem(), nil
	}
	root, err := filepath.Abs(r.cfg.DataDir)
	if err != nil {
		return "", "", nil, err
	}
	walDir, err := r.cfg.separateWALDir(root)
	if err != nil {
		return "", "", nil, err
	}
	want := r.admission.identity(r.cfg.Name)
	want.WALDir = walDir
	r.dir, err = identity.Open(root, want)
	if err != nil {
		return "", "", nil, err
	}
	if r.ledger, err = r.dir.OpenLedger(); err != nil {
		return "", "", nil, err
	}
	r.incarnation, r.boot, r.complete, r.prepared = r.dir.Incarnation, r.dir.Boot, r.dir.Complete, r.dir.Prepared
	if !r.complete && !r.prepared {
		if err := r.dir.Discard(); err != nil {
			return "", "", nil, fmt.Errorf("clear what an interrupted first start left: %w", err)
		}
	}
	return r.dir.State(), r.dir.Snap(), vfs.Default, nil
}

// create makes the state and the empty log of a new member: those of a member
// that founds the cluster begin with a seed, those of one that joins with nothing.
func (r *rooms) create() error {
	if r.admission.joined {
		return r.createLog(nothing())
	}
	seed := statemachine.Seed{ClusterID: r.admission.clusterID, Index: seedIndex, Term: seedTerm, ConfState: &raftpb.ConfState{}}
	_, ids := r.cfg.ids()
	for _, m := range r.cfg.InitialCluster {
		seed.ConfState.Voters = append(seed.ConfState.Voters, ids[m.Name])
		founder := statemachine.Member{ID: ids[m.Name], Name: m.Name, PeerURLs: m.PeerURLs}
		if r.cfg.DiscoverySRV != "" {
			founder.Name = "" // nobody knows the others' names, and all begin with the same
		}
		seed.Members = append(seed.Members, founder)
	}
	if err := r.machine.Bootstrap(seed); err != nil {
		return fmt.Errorf("create the state: %w", err)
	}
	anchor, err := r.machine.Durable()
	if err != nil {
		return err
	}
	return r.createLog(anchor)
}

// nothing is the position of a state that is still to come.
func nothing() *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: new(uint64(0)), Term: new(uint64(0)), ConfState: &raftpb.ConfState{}}
}

func (r *rooms) createLog(anchor *raftpb.SnapshotMetadata) error {
	if r.cfg.Memory {
		r.log = wal.NewMemory(r.logOptions(), anchor)
		return nil
	}
	if err := wal.Create(r.logOptions(), anchor); err != nil {
		return fmt.Errorf("create the log: %w", err)
	}
	return nil
}

// openLog opens the log for the state machine as it is.
func (r *rooms) openLog() error {
	if r.log != nil {
		return nil
	}
	state, err := r.machine.Durable()
	if errors.Is(err, statemachine.ErrNotInitialized) && r.admission.joined {
		state, err = nothing(), nil
	}
	if err != nil {
		return err
	}
	r.log, err = wal.Open(r.logOptions(), state)
	if err != nil {
		return fmt.Errorf("open the log in %s: %w", r.dir.WAL(), err)
	}
	return nil
}

func (r *rooms) logOptions() wal.Options {
	o := wal.Options{
		Logger: r.cfg.Logger, ObserveFsync: r.observeFsync,
		SyncAside:   !r.cfg.NoIOUring,
		MemoryBytes: planMemory(r.cfg.MemoryBudgetBytes).logKeepBytes, MemoryEntries: r.cfg.SnapshotCatchUpEntries,
		Metadata: wal.Metadata{ClusterID: r.admission.clusterID, MemberID: r.admission.memberID},
	}
	if r.dir != nil {
		o.Dir = r.dir.WAL()
	}
	return o
}

// markComplete records that the member may take part from now on.
func (r *rooms) markComplete() error {
	r.complete = true
	if r.dir == nil {
		return nil
	}
	return r.dir.MarkComplete()
}

func (r *rooms) close() error {
	var errs []error
	if r.snaps != nil {
		errs = append(errs, r.snaps.Close())
	}
	if r.machine != nil {
		errs = append(errs, r.machine.Close())
	}
	if r.log != nil {
		errs = append(errs, r.log.Close())
	}
	if r.dir != nil {
		errs = append(errs, r.dir.Close())
	}
	return errors.Join(errs...)
}
