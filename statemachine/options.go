package statemachine

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"raftkv/statemachine/engine"
)

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
	// ManualCompaction turns automatic compactions off, for reproducible runs.
	ManualCompaction bool
	// OnFatal is told once, possibly from a goroutine of Pebble that holds
	// locks, that the state cannot be trusted any more. It must neither block
	// nor call the Machine; the node has to stop, see package engine.
	OnFatal func(error)
	// OnCompaction is told that there may be something to sweep, see SweepStep.
	// It runs inside Apply and must not block.
	OnCompaction func()
}

func (o *Options) engine() engine.Options {
	return engine.Options{
		Dir: o.Dir, FS: o.FS, Logger: o.Logger,
		MemTableBytes: o.MemTableBytes, CacheBytes: o.CacheBytes,
		ManualCompaction: o.ManualCompaction, OnFatal: o.OnFatal,
	}
}

// EnsureDefaults fills what was left zero.
func (o *Options) EnsureDefaults() {
	e := o.engine()
	e.EnsureDefaults()
	o.FS, o.Logger, o.MemTableBytes, o.CacheBytes = e.FS, e.Logger, e.MemTableBytes, e.CacheBytes
	if o.OnCompaction == nil {
		o.OnCompaction = func() {}
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	e := o.engine()
	return e.Validate()
}
