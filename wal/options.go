package wal

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"time"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// SegmentBytes is what a segment file takes on disk; the next one is allocated
// before the last one is full. A quarter of etcd's: a log is given back in whole
// segments, and with theirs it took three times the space of what it has to keep.
const SegmentBytes = uint64(16 << 20)

// etcd's WAL package knows the size by this variable alone.
func init() { etcdwal.SegmentSizeBytes = int64(SegmentBytes) }

// DefaultMemoryBytes is the default of Options.MemoryBytes.
const DefaultMemoryBytes = 64 << 20

// Options configures a Log.
type Options struct {
	// Dir is the directory of the segment files. Nothing else may live in it.
	Dir string
	// Logger receives etcd's messages about the files and what recovery found.
	Logger *zap.Logger
	// MemoryBytes is what the entries kept in memory may take. Entries that are
	// not applied yet are kept beyond it. Disk space follows, a segment later.
	MemoryBytes uint64
	// MemoryEntries is how many of them are kept at most; 0: their number does
	// not matter.
	MemoryEntries uint64
	// Metadata names the member that the log belongs to.
	Metadata Metadata
	// ObserveFsync, if not nil, gets the duration of every write that ended
	// with an fsync, on the goroutine that wrote.
	ObserveFsync func(time.Duration)
	// SyncAside lets the kernel sync the log while no processor is held, where and
	// for as long as it can (package ring); Logger is told where it cannot. Else, and
	// by default, a system call does.
	SyncAside bool
	// fdatasync takes the place of the ring in tests.
	fdatasync func(*os.File) error
}

// budget is what entries may take in memory once they are not needed.
type budget struct{ bytes, entries uint64 }

func (o *Options) budget() budget {
	b := budget{bytes: o.MemoryBytes, entries: o.MemoryEntries}
	if b.entries == 0 {
		b.entries = math.MaxUint64
	}
	return b
}

// EnsureDefaults fills in what was left zero.
func (o *Options) EnsureDefaults() {
	if o.Dir != "" {
		o.Dir = filepath.Clean(o.Dir)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = DefaultMemoryBytes
	}
	if o.ObserveFsync == nil {
		o.ObserveFsync = func(time.Duration) {}
	}
}

// Validate reports everything that is wrong with the options of a log on disk.
func (o *Options) Validate() error {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("wal: no directory given"))
	}
	if o.Metadata.ClusterID == 0 {
		faults = append(faults, errors.New("wal: no cluster id given"))
	}
	if o.Metadata.MemberID == 0 {
		faults = append(faults, errors.New("wal: no member id given"))
	}
	return errors.Join(faults...)
}
