package wal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// cutHistory is a log whose last write began a segment: what a crash may do to
// that write is to be tried.
type cutHistory struct {
	history
	before, after string // the segments
	synced        int    // where the write begins in before
	wrote, begun  []byte // contents
}

// writeUpToACut makes a log whose last write begins a segment.
func writeUpToACut(t *testing.T, seed uint64) cutHistory {
	t.Helper()
	for ; ; seed += 1000 {
		h := cutHistory{history: write(t, rand.New(rand.NewPCG(seed, 20)), 9, 900)}
		k := len(h.marks) - 1
		h.before, h.after = h.marks[k-1].segment, h.marks[k].segment
		if h.before == h.after {
			continue
		}
		h.synced = int(h.marks[k-1].end)
		for name, content := range map[string]*[]byte{h.before: &h.wrote, h.after: &h.begun} {
			var err error
			if *content, err = os.ReadFile(filepath.Join(h.opts.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return h
	}
}

// with puts other contents in place of the two segments, and opens the log.
func (h *cutHistory) with(t *testing.T, wrote, begun []byte) (*Log, Options, error) {
	t.Helper()
	opts := h.copyOf(t)
	for name, content := range map[string][]byte{h.before: wrote, h.after: begun} {
		if err := os.WriteFile(filepath.Join(opts.Dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(opts, meta(1, 1))
	return l, opts, err
}

// TestUnfinishedCut lets a crash take any sectors of a write that began a segment,
// the end of the file behind them, and the head of the new segment: what was
// acknowledged before is there, with a prefix of that write, and the log goes on.
func TestUnfinishedCut(t *testing.T) {
	removed, kept := 0, 0
	for seed := range uint64(12) {
		h := writeUpToACut(t, seed)
		acknowledged := h.marks[len(h.marks)-2]
		for missing := range 1 << 4 {
			rng := rand.New(rand.NewPCG(seed, uint64(missing)))
			wrote := bytes.Clone(h.wrote)
			for off := h.synced; off < len(wrote); {
				next := min(len(wrote), (off/sectorBytes+1)*sectorBytes)
				if sector := off/sectorBytes - h.synced/sectorBytes; missing&(1<<min(sector, 3)) != 0 {
					clear(wrote[off:next])
				}
				off = next
			}
			switch rng.IntN(4) {
			case 0: // the truncation of the file got lost
				wrote = append(wrote, make([]byte, 4096)...)
			case 1: // or its last growth
				wrote = wrote[:h.synced+rng.IntN(len(wrote)-h.synced+1)]
			}
			begun := h.begun
			if rng.IntN(3) == 0 {
				begun = make([]byte, len(begun))
			}
			l, opts, err := h.with(t, wrote, begun)
			if err != nil {
				t.Fatalf("seed %d, sectors %b missing, %d bytes: %v", seed, missing, len(wrote), err)
			}
			last := h.verify(t, l, acknowledged.last)
			hs, _, _ := l.InitialState()
			if hs.GetTerm() < acknowledged.state.GetTerm() || hs.GetCommit() < acknowledged.state.GetCommit() {
				t.Fatalf("recovered %v, acknowledged %v", hs, acknowledged.state)
			}
			if found, err := listSegments(opts.Dir); err != nil {
				t.Fatal(err)
			} else if found[len(found)-1].name == h.after {
				kept++
			} else {
				removed++
			}
			goesOn(t, l, opts, last, hs)
		}
	}
	t.Logf("%d new segments removed, %d kept", removed, kept)
	if removed < 100 || kept < 5 {
		t.Errorf("%d segments removed and %d kept: the test tests nothing", removed, kept)
	}
}

// goesOn appends enough for more segments and reads the log again.
func goesOn(t *testing.T, l *Log, opts Options, last uint64, hs *raftpb.HardState) {
	t.Helper()
	term := hs.GetTerm() + 1
	for range 6 {
		last++
		if err := l.Append(newState(term, 0, hs.GetCommit()), []*raftpb.Entry{entry(last, term, 3000)}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	l = mustOpen(t, opts, meta(1, 1))
	if got, _ := l.LastIndex(); got != last {
		t.Fatalf("the log ends at %d, %d was acknowledged", got, last)
	}
	mustClose(t, l)
}

// TestNotUnfinished: a segment that was used proves that the one before it was
// synced, and a damaged record is no torn one.
func TestNotUnfinished(t *testing.T) {
	h := writeUpToACut(t, 3)
	refused := func(what string, wrote, begun []byte) {
		t.Helper()
		_, _, err := h.with(t, wrote, begun)
		var damage *DamageError
		if !errors.As(err, &damage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	used := bytes.Clone(h.begun)
	_, end := lastRecord(t, h.opts.Dir)
	used[end+100] = 1
	refused("the segment before is cut off, and something was written to the last one", h.wrote[:h.synced], used)
	refused("the head is missing, and something was written behind it", h.wrote, append(make([]byte, end), used[end:]...))

	flipped := bytes.Clone(h.wrote)
	flipped[h.synced+20] ^= 4
	refused("a bit of the last write is wrong", flipped, h.begun)
	flipped = bytes.Clone(h.wrote)
	flipped[h.synced-20] ^= 4
	refused("a bit of the write before it is wrong", flipped, h.begun)
	flipped = bytes.Clone(h.begun)
	flipped[20] ^= 4
	refused("a bit of the head is wrong", h.wrote, flipped)
	refused("the last segment is empty", h.wrote, nil)

	// A log begins with a head.
	opts := h.copyOf(t)
	found, err := listSegments(opts.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range found {
		if err := os.Truncate(filepath.Join(opts.Dir, s.name), 0); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		if _, err := Open(opts, meta(1, 1)); err == nil {
			t.Error("a log without its first segment was opened")
		}
	}
	if _, err := Open(opts, meta(1, 1)); err == nil {
		t.Error("a log of empty segments was opened")
	}
}

// unfinishedLog is a log whose last segment is unfinished, since the write that
// began it got lost.
func unfinishedLog(t *testing.T) (h cutHistory, opts Options) {
	t.Helper()
	h = writeUpToACut(t, 3)
	opts = h.copyOf(t)
	if err := os.Truncate(filepath.Join(opts.Dir, h.before), int64(h.synced)); err != nil {
		t.Fatal(err)
	}
	return h, opts
}

// TestExamineUnfinished: who only reads is told of it, and leaves it.
func TestExamineUnfinished(t *testing.T) {
	h, opts := unfinishedLog(t)
	contents := func() map[string]string {
		found, err := os.ReadDir(opts.Dir)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, e := range found {
			content, err := os.ReadFile(filepath.Join(opts.Dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name()] = string(content)
		}
		return all
	}
	before, last := contents(), h.marks[len(h.marks)-2].last
	examined, err := Examine(opts, meta(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(examined.Torn, h.after) || examined.Segments != len(before)-1 {
		t.Errorf("examined: %d of %d segments, torn %q", examined.Segments, len(before), examined.Torn)
	}
	if n := len(examined.Entries); n == 0 || examined.Entries[n-1].GetIndex() != last {
		t.Errorf("examined: %d entries, the last one acknowledged is %d", n, last)
	}
	read := uint64(0)
	if err := Read(opts.Dir, func(r Record) error { read = max(read, r.Entry.GetIndex()); return nil }); err != nil || read != last {
		t.Errorf("read up to %d, want %d: %v", read, last, err)
	}
	if !maps.Equal(contents(), before) {
		t.Error("reading has changed the log")
	}
}

// TestLockedWhileUnfinished: no other process gets at the log before, while or
// after the unfinished segment is removed.
func TestLockedWhileUnfinished(t *testing.T) {
	h, opts := unfinishedLog(t)
	looked := map[bool]int{}
	another := func() {
		_, err := os.Stat(filepath.Join(opts.Dir, h.after))
		looked[errors.Is(err, os.ErrNotExist)]++
		if l, err := Open(opts, meta(1, 1)); !errors.Is(err, ErrLocked) {
			t.Errorf("another process: %v", err)
			if err == nil {
				mustClose(t, l)
			}
		}
	}
	first := opts
	core, _ := observer.New(zap.WarnLevel) // what is removed is logged before
	first.Logger = zap.New(core, zap.Hooks(func(zapcore.Entry) error { another(); return nil }))
	opening := true // Close unlocks before it syncs
	first.fdatasync = func(*os.File) error {
		if opening {
			another()
		}
		return nil
	}
	l := mustOpen(t, first, meta(1, 1))
	opening = false
	mustClose(t, l)
	if looked[false] == 0 || looked[true] == 0 {
		t.Errorf("looked %d times before it was removed and %d times after", looked[false], looked[true])
	}
}

// TestSegmentBeforeUnfinishedIsLocked: by a process that came first.
func TestSegmentBeforeUnfinishedIsLocked(t *testing.T) {
	h, opts := unfinishedLog(t)
	held, err := fileutil.TryLockFile(filepath.Join(opts.Dir, h.before), os.O_RDWR, fileutil.PrivateFileMode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(opts, meta(1, 1)); !errors.Is(err, ErrLocked) {
		t.Errorf("open: %v", err)
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, h.after)); err != nil {
		t.Error(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, opts, meta(1, 1)))
}

// TestHeadIsOneSector: otherwise a crash could leave a part of it.
func TestHeadIsOneSector(t *testing.T) {
	longest := Metadata{ClusterID: 1<<64 - 1, MemberID: 1<<64 - 1}.Encode()
	state := newState(1<<64-1, 1<<64-1, 1<<64-1)
	data := len(fmt.Sprint(state)) // more than its encoding
	if n := recordBytesMax(0) + recordBytesMax(len(longest)) + recordBytesMax(data); n > headBytesMax {
		t.Errorf("a head may take %d bytes", n)
	}
	if etcdwal.SegmentSizeBytes < 2*headBytesMax {
		t.Errorf("segments of %d bytes have hardly room for more than their head", etcdwal.SegmentSizeBytes)
	}
}
