package engine

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// workshop is a clock that only work and rest move on.
type workshop struct {
	now    time.Time
	rested time.Duration
}

func (w *workshop) pacer() *pacer {
	return newPacer(func() time.Time { return w.now }, func(d time.Duration) {
		w.now = w.now.Add(d)
		w.rested += d
	})
}

// rest writes a table in the given category, each write half a millisecond of
// work, and returns how much of the time was rest.
func (w *workshop) rest(t *testing.T, p *pacer, category vfs.DiskWriteCategory) (rested time.Duration, share float64) {
	t.Helper()
	fs := pacedFS{FS: vfs.NewMem(), pacer: p}
	f, err := fs.Create("table", category)
	if err != nil {
		t.Fatal(err)
	}
	began, before := w.now, w.rested
	for range 200 {
		w.now = w.now.Add(500 * time.Microsecond)
		if _, err := f.Write([]byte("block")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	rested = w.rested - before
	return rested, float64(rested) / float64(w.now.Sub(began))
}

func TestFlushesAndCompactionsRest(t *testing.T) {
	w := &workshop{now: time.Unix(1000, 0)}
	p := w.pacer()
	flush := func(filled time.Duration) {
		p.flushes(pebble.FlushInfo{})
		w.now = w.now.Add(filled)
		p.flushes(pebble.FlushInfo{})
	}
	for _, tc := range []struct {
		filled   time.Duration
		category vfs.DiskWriteCategory
		from, to float64
	}{
		{time.Minute, writesFlush, 0.6, 0.7},
		{time.Minute, writesCompaction, 0.6, 0.7},
		{(calm + hurry) / 2, writesCompaction, 0.45, 0.55},
		{hurry, writesFlush, 0, 0},
		{0, writesCompaction, 0, 0},
		{time.Minute, "pebble-manifest", 0, 0},
		{time.Minute, vfs.WriteCategoryUnspecified, 0, 0},
	} {
		flush(tc.filled)
		if _, share := w.rest(t, p, tc.category); share < tc.from || share > tc.to {
			t.Errorf("%s after a memtable of %v: rested %.2f of the time, not %.2f to %.2f", tc.category, tc.filled, share, tc.from, tc.to)
		}
	}
	flush(0)
	w.now = w.now.Add(4 * hurry)
	p.flushes(pebble.FlushInfo{Input: 4})
	if rested, _ := w.rest(t, p, writesFlush); rested > 0 {
		t.Errorf("rested %v while memtables filled within %v each", rested, hurry)
	}
	flush(0)
	w.now = w.now.Add(time.Minute) // the bulk of writes is over
	if _, share := w.rest(t, p, writesCompaction); share < 0.6 {
		t.Errorf("rested %.2f of the time long after the last flush", share)
	}
	flush(time.Minute)
	p.stalls(pebble.WriteStallBeginInfo{})
	if rested, _ := w.rest(t, p, writesFlush); rested > 0 {
		t.Errorf("rested %v while writes waited", rested)
	}
}

func TestRestsAreShort(t *testing.T) {
	w := &workshop{now: time.Unix(1000, 0)}
	p := w.pacer()
	p.flushes(pebble.FlushInfo{})
	fs := pacedFS{FS: vfs.NewMem(), pacer: p}
	f, err := fs.Create("table", writesFlush)
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour) // the machine slept
	if _, err := f.Write([]byte("block")); err != nil || w.rested > restLongest {
		t.Errorf("rested %v, %v", w.rested, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCompactionsThatFallBehindDoNotRest: else writes would have to wait in the end.
func TestCompactionsThatFallBehindDoNotRest(t *testing.T) {
	w := &workshop{now: time.Unix(1000, 0)}
	p := w.pacer()
	p.flushes(pebble.FlushInfo{})
	w.now = w.now.Add(time.Minute)
	p.flushes(pebble.FlushInfo{})
	tables := func(n int) []pebble.TableInfo { return make([]pebble.TableInfo, n) }
	rests := func(when string, want bool) {
		t.Helper()
		if got := p.rest(restAfter) > 0; got != want {
			t.Errorf("%s: rests %v, want %v", when, got, want)
		}
	}
	rests("with an empty level", true)
	for range level0Max {
		p.flushed(pebble.FlushInfo{Output: tables(1)})
	}
	p.flushed(pebble.FlushInfo{Output: tables(1), Err: pebble.ErrClosed})
	rests("with a full level", false)
	from := func(level, n, output, made int, err error) {
		p.compacted(pebble.CompactionInfo{Input: []pebble.LevelInfo{{Level: level, Tables: tables(n)}, {Level: 6, Tables: tables(9)}},
			Output: pebble.LevelInfo{Level: output, Tables: tables(made)}, Err: err})
	}
	from(0, level0Max, 6, 1, pebble.ErrClosed)
	from(5, 3, 6, 1, nil)
	from(0, 2, 0, 2, nil)
	rests("after what took nothing from it", false)
	from(0, 4, 6, 1, nil)
	rests("after a compaction of it", true)
	from(0, 100, 6, 1, nil) // from before the start
	for range level0Max {
		p.flushed(pebble.FlushInfo{Output: tables(1)})
	}
	rests("with a full level again", false)
}
