package wal

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// syncs is what takes the place of the ring: it notes what each file held when
// it was synced.
type syncs struct {
	held   map[string]int64
	count  int
	failed error
}

func (s *syncs) fdatasync(f *os.File) error {
	s.count++
	if s.failed != nil {
		return s.failed
	}
	content, err := os.ReadFile(f.Name())
	if err != nil {
		return err
	}
	end := len(content)
	for end > 0 && content[end-1] == 0 {
		end--
	}
	s.held[filepath.Base(f.Name())] = int64(end)
	return nil
}

// unsynced returns the segments that hold more than when they were synced.
func (s *syncs) unsynced(t *testing.T, dir string) (names []string) {
	t.Helper()
	now := syncs{held: map[string]int64{}}
	found, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, segment := range found {
		f, err := os.Open(filepath.Join(dir, segment.name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(now.fdatasync(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		if now.held[segment.name] > s.held[segment.name] {
			names = append(names, segment.name)
		}
	}
	return names
}

// mustNote returns a new log whose syncs are noted, but for those of etcd's WAL
// when it was created.
func mustNote(t *testing.T) (Options, *syncs, *Log) {
	t.Helper()
	opts, s := testOptions(t), &syncs{held: map[string]int64{}}
	mustClose(t, mustCreate(t, opts))
	opts.fdatasync = s.fdatasync
	return opts, s, mustOpen(t, opts, meta(1, 1))
}

// TestEverythingIsSynced: whatever a log has acknowledged, over many segments,
// was in the files when they were synced.
func TestEverythingIsSynced(t *testing.T) {
	opts, s, l := mustNote(t)
	rng := rand.New(rand.NewPCG(1, 21))
	for i := range uint64(120) {
		last := i + 2
		if err := l.Append(newState(2, 0, last-1), []*raftpb.Entry{entry(last, 2, rng.IntN(2000))}); err != nil {
			t.Fatal(err)
		}
		if names := s.unsynced(t, opts.Dir); len(names) > 0 {
			t.Fatalf("entry %d was acknowledged, and %v not synced", last, names)
		}
		if i%11 == 0 { // not synced by itself, but it may begin a segment
			before := s.count
			if err := l.Append(newState(2, 0, last), nil); err != nil {
				t.Fatal(err)
			}
			if s.count != before {
				t.Logf("entry %d: a commit index began a segment", last)
			}
		}
		if i%17 == 0 {
			if err := l.Release(meta(last, 2), last); err != nil {
				t.Fatal(err)
			}
			if names := s.unsynced(t, opts.Dir); len(names) > 0 {
				t.Fatalf("the log was released up to %d, and %v not synced", last, names)
			}
		}
	}
	if l.SyncHoldsProcessor() {
		t.Error("a processor is held")
	}
	if len(s.held) < 8 {
		t.Errorf("%d segments: too few", len(s.held))
	}
	if err := l.Append(newState(2, 0, 121), nil); err != nil { // held back by the writer
		t.Fatal(err)
	}
	mustClose(t, l)
	if names := s.unsynced(t, opts.Dir); len(names) > 0 {
		t.Errorf("the log was closed, and %v not synced", names)
	}
}

// TestCommitBeginsASegment: a write that need not be synced is, with the segment
// before, when it begins one.
func TestCommitBeginsASegment(t *testing.T) {
	opts, s, l := mustNote(t)
	commit, begun := uint64(1), 0
	for i := range uint64(200) {
		last := 2 + 4*i
		entries := []*raftpb.Entry{entry(last, 2, 10), entry(last+1, 2, 10), entry(last+2, 2, 10), entry(last+3, 2, 10)}
		if err := l.Append(newState(2, 0, commit), entries); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			segments, _ := listSegments(opts.Dir)
			commit++
			if err := l.Append(newState(2, 0, commit), nil); err != nil {
				t.Fatal(err)
			}
			after, _ := listSegments(opts.Dir)
			if len(after) == len(segments) {
				continue
			}
			begun++
			if names := s.unsynced(t, opts.Dir); len(names) > 0 {
				t.Fatalf("commit %d began a segment, and %v are not synced", commit, names)
			}
		}
	}
	t.Logf("%d segments begun by a commit index", begun)
	if begun == 0 {
		t.Error("the test tests nothing")
	}
}

// TestSyncFails: the first error is final, and nothing is acknowledged.
func TestSyncFails(t *testing.T) {
	_, s, l := mustNote(t)
	s.failed = errors.New("the disk is gone")
	for range 2 {
		if err := l.Append(newState(2, 0, 1), []*raftpb.Entry{entry(2, 2, 10)}); !errors.Is(err, s.failed) {
			t.Fatalf("append: %v", err)
		}
	}
	if last, _ := l.LastIndex(); last != 1 {
		t.Errorf("the log ends at %d", last)
	}
	if err := l.Close(); !errors.Is(err, s.failed) {
		t.Errorf("close: %v", err)
	}
}

// TestResetIsSynced: with what is not synced by itself, a commit index.
func TestResetIsSynced(t *testing.T) {
	opts, s, l := mustNote(t)
	if err := l.Append(newState(2, 0, 1), []*raftpb.Entry{entry(2, 2, 10)}); err != nil {
		t.Fatal(err)
	}
	_, before := lastRecord(t, opts.Dir)
	if err := l.Reset(meta(9, 2), newState(2, 0, 9), nil); err != nil {
		t.Fatal(err)
	}
	if _, end := lastRecord(t, opts.Dir); end <= before {
		t.Errorf("the records end at %d as before", end)
	}
	if names := s.unsynced(t, opts.Dir); len(names) > 0 {
		t.Errorf("the log was reset, and %v not synced", names)
	}
}

// TestTurnFails: a new segment that cannot be opened, or an ended one that cannot
// be synced, is the log's first and only error.
func TestTurnFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	for what, c := range map[string]struct {
		spoil func(*testing.T, *syncAside)
		want  error
	}{
		"not opened": {func(t *testing.T, s *syncAside) {
			s.dir = t.TempDir()
			if err := os.Symlink("nowhere", filepath.Join(s.dir, "0000000000000009-0000000000000009.wal")); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
		"not synced": {func(_ *testing.T, s *syncAside) {
			first := filepath.Base(s.file.Name())
			s.fdatasync = func(f *os.File) error {
				if filepath.Base(f.Name()) == first && s.seq > 0 {
					return broken
				}
				return nil
			}
		}, broken},
	} {
		t.Run(what, func(t *testing.T) {
			opts := testOptions(t)
			mustClose(t, mustCreate(t, opts))
			opts.fdatasync = noSync
			l := mustOpen(t, opts, meta(1, 1))
			if err := l.Append(newState(2, 0, 1), []*raftpb.Entry{entry(2, 2, 9000)}); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, l.segments.(*files).aside)
			// etcd's WAL begins a segment with the write after the one that filled it.
			err := l.Append(newState(2, 0, 2), []*raftpb.Entry{entry(3, 2, 10)})
			if !errors.Is(err, c.want) {
				t.Fatalf("append: %v", err)
			}
			if again := l.Append(newState(2, 0, 2), nil); again != err {
				t.Errorf("then: %v", again)
			}
			if err := l.Close(); !errors.Is(err, c.want) {
				t.Errorf("close: %v", err)
			}
			if last, _ := l.LastIndex(); last != 2 {
				t.Errorf("the log ends at %d", last)
			}
		})
	}
}

// openWarned opens a log that is synced aside by a function of the test, and returns
// that and what the log warns of.
func openWarned(t *testing.T) (*Log, *syncs, *observer.ObservedLogs) {
	core, logs := observer.New(zap.WarnLevel)
	opts := testOptions(t)
	mustClose(t, mustCreate(t, opts))
	s := &syncs{held: map[string]int64{}}
	opts.fdatasync, opts.Logger = s.fdatasync, zap.New(core)
	return mustOpen(t, opts, meta(1, 1)), s, logs
}

// TestSlowSync: etcd's words about a slow disk.
func TestSlowSync(t *testing.T) {
	l, _, logs := openWarned(t)
	f := l.segments.(*files)
	if err := f.written(time.Now().Add(-2*slowSync), 0, true); err != nil {
		t.Fatal(err)
	}
	if logs.FilterMessage("slow fdatasync").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

// TestRingBreaks: a ring that fails costs nothing but processors, and is told of
// once, by name and to whoever asks at the same time.
func TestRingBreaks(t *testing.T) {
	l, s, logs := openWarned(t)
	f := l.segments.(*files)
	var broken error
	f.aside.broken = func() error { return broken }
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			l.SyncHoldsProcessor()
		}
	})
	for i := range uint64(6) {
		if i == 3 {
			broken = errors.New("no more threads")
		}
		if err := l.Append(newState(2, 0, i+1), []*raftpb.Entry{entry(i+2, 2, 10)}); err != nil {
			t.Fatal(err)
		}
		if got, want := l.SyncHoldsProcessor(), i >= 3; got != want {
			t.Errorf("append %d: a processor is held: %v, want %v", i, got, want)
		}
	}
	cancel()
	asking.Wait()
	if names := s.unsynced(t, f.dir); len(names) > 0 {
		t.Errorf("not synced: %v", names)
	}
	mustClose(t, l)
	said := logs.FilterMessageSnippet("io_uring failed").All()
	if len(said) != 1 || said[0].ContextMap()["reason"] != "no more threads" {
		t.Errorf("logged %v, want one line with the reason", said)
	}
	if !l.SyncHoldsProcessor() {
		t.Error("forgotten when the log was closed")
	}
}

// TestBrokenRingSyncsOn: the same with the kernel's ring.
func TestBrokenRingSyncsOn(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	opts := testOptions(t)
	opts.SyncAside, opts.Logger = true, zap.New(core)
	l := mustCreate(t, opts)
	aside := l.segments.(*files).aside
	if aside == nil {
		t.Skipf("SKIPPED: this system has no io_uring for us: %v", logs.All())
	}
	if l.SyncHoldsProcessor() {
		t.Error("a processor is held from the start")
	}
	if err := aside.ring.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(40) { // over several segments
		if err := l.Append(newState(2, 0, i+1), []*raftpb.Entry{entry(i+2, 2, 2000)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := logs.FilterMessageSnippet("io_uring failed").Len(); n != 1 || !l.SyncHoldsProcessor() {
		t.Errorf("told %d times; a processor is held: %v", n, l.SyncHoldsProcessor())
	}
	mustClose(t, l)
	mustClose(t, mustOpen(t, opts, meta(1, 1)))
}

// TestSyncedByEtcd: without being asked for, and without a ring, etcd's WAL
// syncs.
func TestSyncedByEtcd(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	opts := testOptions(t)
	opts.SyncAside, opts.Logger = false, zap.New(core)
	l := mustCreate(t, opts)
	for i := range uint64(20) {
		if err := l.Append(newState(2, 0, i+1), []*raftpb.Entry{entry(i+2, 2, 2000)}); err != nil {
			t.Fatal(err)
		}
	}
	if !l.SyncHoldsProcessor() {
		t.Error("synced aside without being asked for")
	}
	mustClose(t, l)
	for _, e := range logs.All() {
		if strings.Contains(e.Message, "synced by a system call") {
			t.Errorf("says so without being asked: %v", e)
		}
	}
}
