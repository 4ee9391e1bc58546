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
