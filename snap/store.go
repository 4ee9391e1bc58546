package snap

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// Errors of the package, to be tested with errors.Is.
var (
	// ErrGone means that the checkpoint a snapshot names is not, or no longer,
	// here. A newer one is a call of Latest away.
	ErrGone = errors.New("snapshot is gone")
	// ErrCorrupt means that data does not match its checksum or its format.
	ErrCorrupt = errors.New("snapshot is corrupt")
	// ErrBusy means that as many snapshots are staged as the store holds.
	ErrBusy = errors.New("too many snapshots are staged")
	// ErrNoRoom means that the disk has no room for the snapshot offered.
	ErrNoRoom = errors.New("no room on the disk for the snapshot")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("snapshot store is closed")
)

// State is what the store needs of the state machine.
type State interface {
	// Checkpoint writes a copy of the state into dir, which does not exist
	// yet, and returns the metadata of exactly that copy. It may run beside
	// Apply.
	Checkpoint(dir string) (*raftpb.SnapshotMetadata, error)
	// Replace makes the files in dir the state and takes the directory away
	// from there. Durable on return.
	Replace(dir string) error
	// Applied returns index and term of the last entry applied.
	Applied() (index, term uint64)
}

// linker is a State that can share its live files: LinkLive makes a hard link to
// the one of that name. The file may be any; the caller checks it.
type linker interface {
	LinkLive(name, to string) error
}

// stagedMax bounds the snapshots that are staged or being staged. More than one,
// so that a new leader can offer one while that of its predecessor waits.
const stagedMax = 3

// Options configure a Store.
type Options struct {
	// Dir belongs to the store alone. It must be on the file system that holds
	// the state, since snapshots are moved and linked.
	Dir    string
	State  State
	Logger *zap.Logger
	// FS is the file system; the operating system's by default.
	FS vfs.FS
	// Immutable tells which files never change under their names within one
	// database, so that one received for another snapshot, or part of the live
	// state, need not be transferred again. Nil: none.
	Immutable func(name string) bool
	// KeepFor is how long a checkpoint that nobody reads, and a staging that
	// nobody writes, wait for somebody to come back.
	KeepFor time.Duration
	// Synchronous makes Latest make the checkpoint it needs before it returns,
	// and lets nothing expire, for deterministic simulation.
	Synchronous bool
}

// EnsureDefaults fills in what was left empty.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Immutable == nil {
		o.Immutable = func(string) bool { return false }
	}
	if o.KeepFor == 0 {
		o.KeepFor = 5 * time.Minute
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("snap: no directory given"))
	}
	if o.State == nil {
		faults = append(faults, errors.New("snap: no state machine given"))
	}
	if o.KeepFor <= 0 {
		faults = append(faults, errors.New("snap: the time to keep what nobody uses must be positive"))
	}
	return errors.Join(faults...)
}

// Store holds the checkpoints and the staged snapshots of one member.
type Store struct {
	opts   Options
	making sync.WaitGroup // a checkpoint, a sweep
	sums   *sums          // owned by whoever makes a checkpoint

	mu struct {
		sync.Mutex
		closed     bool
		isMaking   bool
		lastDir    uint64      // numbers the directories made by this store
		newest     *checkpoint // nil: none
		superseded map[*checkpoint]struct{}
		staged     map[digest]*staging
		saves      int           // snapshot files being written
		sweeper    *time.Timer   // nil: nothing is to be swept
		installed  chan struct{} // closed when the installation that began last is over
		renewed    bool          // the live database was replaced: forget sums
		stats      Stats
	}
}

// Stats count since the store was opened.
type Stats struct {
	Checkpoints uint64 // made
	Staged      uint64 // received in full
	Installed   uint64
	// ReceivedBytes came over the network. ResumedBytes were there from an
	// earlier attempt at the same snapshot, ReusedBytes from another snapshot or
	// the live state.
	ReceivedBytes, ResumedBytes, ReusedBytes uint64
	// Installing is whether the state is being replaced now.
	Installing bool
}

// Stats returns the store's counters.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.stats
}

// New opens the store in opts.Dir, and removes what an earlier life left there.
func New(opts Options) (*Store, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if err := opts.FS.RemoveAll(opts.Dir); err != nil {
		return nil, fmt.Errorf("remove leftovers of snapshots in %s: %w", opts.Dir, err)
	}
	if err := opts.FS.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create snapshot directory: %w", err)
	}
	if err := syncDir(opts.FS, opts.FS.PathDir(opts.Dir)); err != nil {
		return nil, err
	}
	s := &Store{opts: opts, sums: newSums(opts.Immutable)}
	s.mu.superseded = make(map[*checkpoint]struct{})
	s.mu.staged = make(map[digest]*staging)
	return s, nil
}

// Latest returns a snapshot at or beyond minIndex that can be streamed. While
// none is ready it returns raft.ErrSnapshotTemporarilyUnavailable and sees to
// it that one is made. The caller owns the result.
func (s *Store) Latest(minIndex uint64) (*raftpb.Snapshot, error) {
	if snapshot := s.newest(minIndex); snapshot != nil {
		return snapshot, nil
	}
	if !s.beginMaking() {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	if !s.opts.Synchronous {
		go s.makeNewest(minIndex)
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	s.makeNewest(minIndex)
	if snapshot := s.newest(minIndex); snapshot != nil {
		return snapshot, nil
	}
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// Trim removes the newest checkpoint, at the latest when its last reader is done:
// it keeps disk space that compaction of the state could give back. To be called
// when no follower needs it any more, or this member leads no more.
func (s *Store) Trim() error {
	s.mu.Lock()
	old := s.supersedeLocked(nil)
	s.mu.Unlock()
	return s.removeDirs(old)
}

// Close waits for a checkpoint that is being made. What is in the directory is
// of no use to the next life and removed by it.
func (s *Store) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	if s.mu.sweeper != nil {
		s.mu.sweeper.Stop()
	}
	var open []io.Closer
	for _, st := range s.mu.staged {
		if !st.active && st.partial != nil {
			open = append(open, st.partial.out)
			st.partial = nil
		}
	}
	s.mu.Unlock()
	s.making.Wait()
	var errs []error
	for _, f := range open {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) newest(minIndex uint64) *raftpb.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.mu.newest
	if s.mu.closed || c == nil || c.manifest.index < minIndex {
		return nil
	}
	c.lastUsed = time.Now()
	return c.snapshot()
}

// dirLocked returns the name of a directory nobody used before.
func (s *Store) dirLocked(kind string) string {
	s.mu.lastDir++
	return s.opts.FS.PathJoin(s.opts.Dir, fmt.Sprintf("%s-%06d", kind, s.mu.lastDir))
}
