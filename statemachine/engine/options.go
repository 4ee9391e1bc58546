package engine

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Options configure a store.
type Options struct {
	Dir string
	FS  vfs.FS // the file system; the real one by default
	// Logger takes Pebble's messages.
	Logger *zap.Logger
	// MemTableBytes is the size of one memtable; at most four exist.
	MemTableBytes uint64
	// CacheBytes is the size of the block cache, on top of the memtables.
	CacheBytes int64
	// Attribute extracts from a record what its reference tells of a value that
	// lies apart from its key; nil: nothing. 0 has to mean that nothing is known.
	Attribute pebble.ShortAttributeExtractor
	// ManualCompaction turns compactions off, and flushes but those that a full
	// memtable or Flush causes: for runs that must be reproducible.
	ManualCompaction bool
	// OnFatal is told once that the store cannot go on.
	OnFatal func(error)
}

// MemTablesMax is how many memtables a database may have: beyond it writes wait
// for a flush.
const MemTablesMax = 4

const (
	defaultMemTableBytes = 32 << 20
	defaultCacheBytes    = 64 << 20

	bloomBitsPerKey = 10
	blockBytes      = 8 << 10

	// Level 0 is compacted when half of level0Compact flushes lie in it: what they
	// are merged with is written anew each time, so often is dear. At level0Stop
	// writes wait.
	level0Compact = 20
	level0Stop    = 60
	// level0TableBytes lets a flush make one table and one blob file, since values
	// count as part of their tables; levelTableBytes bounds what one compaction
	// below level 0 writes.
	level0TableBytes = 16 << 20
	levelTableBytes  = 8 << 20
	// levelBaseBytes is the size from which on there is another level between
	// level 0 and the last one. Of its bytes most are values, which stay where they
	// are while keys move.
	levelBaseBytes = 256 << 20
)

// EnsureDefaults fills what was left zero.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("state directory is not set"))
	}
	if o.OnFatal == nil {
		errs = append(errs, errors.New("OnFatal is not set: nobody would stop the node after a failed write"))
	}
	if o.MemTableBytes > 1<<30 {
		errs = append(errs, errors.New("MemTableBytes is above 1 GiB"))
	}
	if o.CacheBytes < 0 {
		errs = append(errs, errors.New("CacheBytes is negative"))
	}
	return errors.Join(errs...)
}

// pebbleOptions are the options of every database the store opens. The cache
// is shared, so that a replacement does not double it.
func (s *Store) pebbleOptions(h *Handle) *pebble.Options {
	o := &pebble.Options{
		Comparer:                    &cockroachkvs.Comparer,
		KeySchema:                   cockroachkvs.KeySchema.Name,
		KeySchemas:                  sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
		BlockPropertyCollectors:     cockroachkvs.BlockPropertyCollectors,
		FormatMajorVersion:          pebble.FormatNewest,
		FS:                          blobFS{FS: s.opts.FS, broken: func(err error) { s.brokenBlob(h, err) }},
		Cache:                       s.cache,
		DisableWAL:                  true,
		MemTableSize:                s.opts.MemTableBytes,
		MemTableStopWritesThreshold: MemTablesMax,
		L0CompactionThreshold:       level0Compact,
		L0StopWritesThreshold:       level0Stop,
		LBaseMaxBytes:               levelBaseBytes,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLogger{store: s, log: s.opts.Logger},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.backgroundError(h, err) },
		},
	}
	o.Experimental.ValueSeparationPolicy = s.separation
	o.Experimental.ShortAttributeExtractor = s.opts.Attribute
	if !s.opts.ManualCompaction {
		p := newPacer(time.Now, time.Sleep)
		o.FS = pacedFS{FS: o.FS, pacer: p}
		o.EventListener.FlushBegin, o.EventListener.WriteStallBegin = p.flushes, p.stalls
		o.EventListener.FlushEnd, o.EventListener.CompactionEnd = p.flushed, p.compacted
	}
	for i := range o.Levels {
		o.TargetFileSizes[i] = levelTableBytes
		o.Levels[i].BlockSize = blockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	o.TargetFileSizes[0] = level0TableBytes
	if s.opts.ManualCompaction {
		o.DisableAutomaticCompactions = true
		o.DisableTableStats = true
		// Nothing shrinks level 0 then, so nothing may wait for it to shrink.
		o.L0StopWritesThreshold = 1 << 30
	}
	return o
}
