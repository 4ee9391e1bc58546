package sim

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftkv/statemachine"
	"raftkv/wal"
	"raftkv/wal/crashlog"
)

// disk is what a machine keeps when its process dies: the file system of state
// and snapshots, the segments of the log, and the small files of the identity,
// which are replaced atomically and durably.
type disk struct {
	rng *rand.Rand
	fs  *vfs.MemFS
	log *crashlog.Disk

	incarnation, boot uint64
	complete          bool
	ledger            map[uint64]uint64
	// promised is for how long the member may have promised leaders not to help
	// others to win.
	promised time.Duration
	// introduced are the members that this one was told of, for as long as it has
	// no state of its own; nil: it is not known to be added.
	introduced []statemachine.Member

	frozen freezer
	// claim is what the last process had been told to be durable.
	claim claim

	metadata     wal.Metadata
	segmentBytes int
}

const (
	stateDir = "data/state"
	snapDir  = "data/snap"
)

func newDisk(rng *rand.Rand, metadata wal.Metadata, segmentBytes int) *disk {
	return &disk{
		rng: rng, fs: vfs.NewCrashableMem(), log: crashlog.New(metadata, segmentBytes),
		metadata: metadata, segmentBytes: segmentBytes,
	}
}

// claim is what recovery must bring back.
type claim struct {
	applied uint64 // of the state
	log     *image
}

// after returns the disk as the next process finds it. Of the state's unsynced
// files all or nothing survives: MemFS goes through its files in random order,
// so anything between would not be reproducible.
func (d *disk) after(f failure) *disk {
	switch f {
	case removal:
		empty := newDisk(d.rng, d.metadata, d.segmentBytes)
		empty.introduced = d.introduced // by its flags
		return empty
	case powerCut:
		d.log.Crash(d.rng.IntN)
	case kill:
		d.log.Kill(d.rng.IntN)
	}
	if fs := d.frozen.take(); fs != nil {
		d.fs = fs
	} else {
		d.fs = survives(d.fs, f)
	}
	d.log.OnStep = nil
	return d
}

// survives returns what a failure leaves of the files.
func survives(fs *vfs.MemFS, f failure) *vfs.MemFS {
	if f == powerCut {
		return fs.CrashClone(vfs.CrashCloneCfg{})
	}
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
}

// fileSystem is the file system for one process.
func (d *disk) fileSystem() vfs.FS {
	d.frozen.fs = d.fs
	return errorfs.Wrap(d.fs, &d.frozen)
}

// freezer keeps what a failure would leave of the files in the middle of an
// operation on many of them. It looks at creations, renames and syncs only:
// Pebble removes files in the background, at moments that are not reproducible.
type freezer struct {
	mu     sync.Mutex
	fs     *vfs.MemFS
	armed  bool
	in     int
	how    failure
	result *vfs.MemFS
}

func (f *freezer) arm(in int, how failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.in, f.how = true, in, how
}

// disarm says whether the moment was reached.
func (f *freezer) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.result != nil
}

func (f *freezer) take() *vfs.MemFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	fs := f.result
	f.result = nil
	return fs
}

// MaybeError implements errorfs.Injector. It never fails.
func (f *freezer) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpRename, errorfs.OpFileSync, errorfs.OpFileSyncData:
	default:
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed || f.result != nil {
		return nil
	}
	if f.in--; f.in < 0 {
		f.result = survives(f.fs, f.how)
	}
	return nil
}

// String implements errorfs.Injector.
func (f *freezer) String() string { return "freezer" }

// discard removes an incomplete directory.
func (d *disk) discard() error {
	if d.complete {
		return errors.New("the directory is complete")
	}
	d.log = crashlog.New(d.metadata, d.segmentBytes)
	return errors.Join(d.fs.RemoveAll(stateDir), d.fs.RemoveAll(snapDir))
}

var errTorn = errors.New("the process died here")

// dieAt lets the n-th step of the log's disk from now fail, and all after it.
func (d *disk) dieAt(n int) {
	d.log.OnStep = func(crashlog.Step) error {
		if n--; n < 0 {
			return errTorn
		}
		return nil
	}
}
