package engine

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's names for what it writes in the background.
const (
	writesFlush      vfs.DiskWriteCategory = "pebble-memtable-flush"
	writesCompaction vfs.DiskWriteCategory = "pebble-compaction"
)

const (
	// restMax is how long flushes and compactions rest for each unit of time they
	// work, while writes come so slowly that a memtable takes calm to fill. The
	// faster it fills, the less they rest; below hurry they do not.
	restMax = 2.0
	calm    = 2 * time.Second
	hurry   = 500 * time.Millisecond
	// With level0Max tables in level 0 nothing rests: compactions have to catch up.
	// A flush makes one table or a few.
	level0Max = level0Stop / 2
	// Work is interrupted as soon as it took restAfter, for restLongest at most.
	restAfter   = time.Millisecond
	restLongest = 10 * time.Millisecond
)

// pacer keeps flushes and compactions from taking a core for themselves. A
// flush is some 100 ms of work that Pebble does as fast as it can, and a
// compaction more; on a machine whose cores are busy, everything else waits for
// them, and the requests that arrive meanwhile make its 99th percentile.
//
// It rests between writes of a table, where Pebble holds no lock. When writes
// have to wait, or compactions fall behind, it lets go at once. Tables and the
// blob files of their values are written at the same time: they rest together.
type pacer struct {
	now   func() time.Time
	sleep func(time.Duration)

	flushBegan atomic.Int64 // UnixNano of the last flush
	filled     atomic.Int64 // nanoseconds that each of its memtables took to fill
	stalled    atomic.Bool  // writes had to wait since then
	// level0 counts the tables in level 0 but those that were there at the start,
	// which makes it too small until they are compacted.
	level0 atomic.Int64

	// flush and compaction have the end of the last rest of each.
	flush, compaction restClock
}

// restClock is the UnixNano from when on work counts.
type restClock struct{ since atomic.Int64 }

func newPacer(now func() time.Time, sleep func(time.Duration)) *pacer {
	return &pacer{now: now, sleep: sleep}
}

// flushes is told when a flush begins: how long a memtable took to fill says how
// much time there is. A flush takes all that became full during the one before.
func (p *pacer) flushes(i pebble.FlushInfo) {
	now := p.now().UnixNano()
	p.filled.Store((now - p.flushBegan.Swap(now)) / max(1, int64(i.Input)))
	p.stalled.Store(false)
}

// stalls is told that writes wait.
func (p *pacer) stalls(pebble.WriteStallBeginInfo) { p.stalled.Store(true) }

// flushed and compacted are told what became of level 0.
func (p *pacer) flushed(i pebble.FlushInfo) {
	if i.Err == nil {
		p.level0.Add(int64(len(i.Output)))
	}
}

func (p *pacer) compacted(i pebble.CompactionInfo) {
	if i.Err != nil {
		return
	}
	change := 0
	for _, in := range i.Input {
		if in.Level == 0 {
			change -= len(in.Tables)
		}
	}
	if i.Output.Level == 0 {
		change += len(i.Output.Tables)
	}
	if p.level0.Add(int64(change)) < 0 { // tables from before the start
		p.level0.Store(0)
	}
}

// rest is how long to rest after so much work. A memtable that is not full yet
// counts with its age, so that what bulk writes left behind becomes slow once
// they end.
func (p *pacer) rest(worked time.Duration) time.Duration {
	if p.stalled.Load() || p.level0.Load() >= level0Max {
		return 0
	}
	filled := time.Duration(max(p.filled.Load(), p.now().UnixNano()-p.flushBegan.Load()))
	share := max(0, float64(min(filled, calm)-hurry)/float64(calm-hurry))
	return min(time.Duration(restMax*share*float64(worked)), restLongest)
}

// pacedFS is a file system whose tables are written at a pace.
type pacedFS struct {
	vfs.FS
	pacer *pacer
}

// Create makes a file.
func (fs pacedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil {
		return f, err
	}
	var clock *restClock
	switch category {
	case writesFlush:
		clock = &fs.pacer.flush
	case writesCompaction:
		clock = &fs.pacer.compaction
	default:
		return f, nil
	}
	clock.since.Store(fs.pacer.now().UnixNano())
	return &pacedFile{File: f, pacer: fs.pacer, clock: clock}, nil
}

// Unwrap returns the file system below.
func (fs pacedFS) Unwrap() vfs.FS { return fs.FS }

// pacedFile is a table or a blob file being written, by one goroutine at a time.
type pacedFile struct {
	vfs.File
	pacer *pacer
	clock *restClock
}

func (f *pacedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	now, since := f.pacer.now().UnixNano(), f.clock.since.Load()
	worked := time.Duration(now - since)
	if worked < restAfter {
		return n, err
	}
	rest := f.pacer.rest(worked)
	// Whoever writes beside this goroutine meanwhile has not worked yet.
	if f.clock.since.CompareAndSwap(since, now+int64(rest)) && rest > 0 {
		f.pacer.sleep(rest)
	}
	return n, err
}
