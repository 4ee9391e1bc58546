package statemachine

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/mvcc"
)

// MemTablesMax is how many memtables of Options.MemTableBytes may exist.
const MemTablesMax = engine.MemTablesMax

// Options configure a Machine. All but Dir and OnFatal have defaults.
type Options struct {
	// Dir is the state directory; it is created if missing.
	Dir string
	// FS is the file system; the real one by default.
	FS     vfs.FS
	Logger *zap.Logger
	// MemTableBytes is the size of one Pebble memtable, of which four may exist.
	MemTableBytes uint64
	// CacheBytes is the size of Pebble's block cache, on top of the memtables.
	CacheBytes int64
	// HeadsBytes bounds what is remembered of keys written lately, see package
	// mvcc.
	HeadsBytes int64
	// HotBytes bounds what is remembered of keys that are read often, see package
	// mvcc; 0: the default. Values of more than a thousandth of it are not
	// remembered.
	HotBytes int64
	// ManualCompaction turns automatic compactions off, for reproducible runs.
	ManualCompaction bool
	// ResponseBytesMax bounds what one read may hold in memory. Default 2 GiB,
	// more than which gRPC does not send.
	ResponseBytesMax int64
	// OnFatal is told once, possibly from a goroutine of Pebble that holds
	// locks, that the state cannot be trusted any more. It must neither block
	// nor call the Machine; the node has to stop, see package engine.
	OnFatal func(error)
	// OnCompaction is told that there may be something to sweep, see SweepStep.
	// It runs inside Apply and must not block.
	OnCompaction func()
	// Follower is told how the key space moves on; nil: nobody.
	Follower Follower
	// OnLeases is told what became of leases, in order, once readers see it. It
	// runs inside Apply and must not block.
	OnLeases func([]LeaseChange)
	// OnLeaseReads is told that LeaseReads may have changed. It runs inside Apply
	// or Replace and must not block.
	OnLeaseReads func()
}

const defaultHeadsBytes, defaultHotBytes = 7 << 20, 7 << 20

func (o *Options) engine() engine.Options {
	return engine.Options{
		Dir: o.Dir, FS: o.FS, Logger: o.Logger,
		MemTableBytes: o.MemTableBytes, CacheBytes: o.CacheBytes,
		ManualCompaction: o.ManualCompaction, OnFatal: o.OnFatal, Attribute: mvcc.Attribute,
	}
}

// EnsureDefaults fills what was left zero.
func (o *Options) EnsureDefaults() {
	e := o.engine()
	e.EnsureDefaults()
	o.FS, o.Logger, o.MemTableBytes, o.CacheBytes = e.FS, e.Logger, e.MemTableBytes, e.CacheBytes
	if o.HeadsBytes == 0 {
		o.HeadsBytes = defaultHeadsBytes
	}
	if o.HotBytes == 0 {
		o.HotBytes = defaultHotBytes
	}
	if o.ResponseBytesMax == 0 {
		o.ResponseBytesMax = math.MaxInt32
	}
	if o.OnCompaction == nil {
		o.OnCompaction = func() {}
	}
	if o.OnLeaseReads == nil {
		o.OnLeaseReads = func() {}
	}
	if o.OnLeases == nil {
		o.OnLeases = func([]LeaseChange) {}
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	e := o.engine()
	err := e.Validate()
	if o.HeadsBytes < 0 {
		err = errors.Join(err, errors.New("HeadsBytes is negative"))
	}
	if o.HotBytes < 0 {
		err = errors.Join(err, errors.New("HotBytes is negative"))
	}
	if o.ResponseBytesMax < 0 {
		err = errors.Join(err, fmt.Errorf("statemachine: ResponseBytesMax %d must be positive", o.ResponseBytesMax))
	}
	return err
}
