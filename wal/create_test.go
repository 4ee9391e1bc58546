package wal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

func TestCreateAndOpen(t *testing.T) {
	opts := testOptions(t)
	if Exists(opts.Dir) {
		t.Fatal("a log exists before it was created")
	}
	if _, err := Open(opts, meta(1, 1)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opened what does not exist: %v", err)
	}
	syncs := 0
	opts.ObserveFsync = func(time.Duration) { syncs++ }
	l := mustCreate(t, opts)
	if !Exists(opts.Dir) {
		t.Fatal("the log does not exist")
	}
	hs, conf, err := l.InitialState()
	if err != nil || hs.GetTerm() != 1 || hs.GetCommit() != 1 || len(conf.GetVoters()) != 3 {
		t.Fatalf("InitialState: %v %v %v", hs, conf, err)
	}
	before := syncs
	if err := l.Append(newState(1, 0, 1), []*raftpb.Entry{entry(2, 1, 10)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(newState(1, 0, 2), nil); err != nil {
		t.Fatal(err)
	}
	if syncs != before+1 {
		t.Errorf("%d fsyncs for an entry and for a commit index, want one", syncs-before)
	}
	if _, err := Open(opts, meta(1, 1)); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := Create(opts, meta(1, 1)); !errors.Is(err, os.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	stats, err := l.Stats()
	if err != nil || stats.FirstIndex != 2 || stats.LastIndex != 2 || stats.DiskBytes < etcdwal.SegmentSizeBytes || stats.MemoryBytes == 0 {
		t.Errorf("Stats: %+v %v", stats, err)
	}
	mustClose(t, l)
	if err := l.Append(nil, []*raftpb.Entry{entry(3, 1, 10)}); !errors.Is(err, ErrClosed) {
		t.Errorf("appended to a closed log: %v", err)
	}
}

func TestForeignLog(t *testing.T) {
	opts := testOptions(t)
	mustClose(t, mustCreate(t, opts))
	for _, other := range []Metadata{{ClusterID: 1, MemberID: opts.Metadata.MemberID}, {ClusterID: opts.Metadata.ClusterID, MemberID: 1}} {
		opts := opts
		opts.Metadata = other
		if _, err := Open(opts, meta(1, 1)); !errors.Is(err, ErrForeign) {
			t.Errorf("opened by %x: %v", other, err)
		}
	}
	// The log of an etcd is not ours either.
	opts.Dir = filepath.Join(t.TempDir(), "wal")
	w, err := etcdwal.Create(zap.NewNop(), opts.Dir, []byte("\x0a\x03abc"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(opts, meta(0, 0)); !errors.Is(err, ErrForeign) {
		t.Errorf("opened etcd's: %v", err)
	}
}

// TestCreateAfterCrash: what a crash left of a creation is not a log, and does
// not stop the next one.
func TestCreateAfterCrash(t *testing.T) {
	opts := testOptions(t)
	staging := opts.Dir + ".new"
	for _, dir := range []string{staging, staging + ".tmp"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "0000000000000000-0000000000000000.wal"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if Exists(opts.Dir) {
		t.Fatal("half a log counts as one")
	}
	l := mustCreate(t, opts)
	if last, _ := l.LastIndex(); last != 1 {
		t.Errorf("last index %d", last)
	}
	left, err := os.ReadDir(filepath.Dir(opts.Dir))
	if err != nil || len(left) != 1 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func TestCreateRefusesOtherFiles(t *testing.T) {
	opts := testOptions(t)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	alien := filepath.Join(opts.Dir, "notes.txt")
	if err := os.WriteFile(alien, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(opts, meta(1, 1)); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "notes.txt") {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(alien); err != nil {
		t.Fatalf("somebody's file is gone: %v", err)
	}
}

// TestLeftoverOfACut: a process killed while it began a segment leaves a
// temporary file with a head. Neither it nor its bytes may become part of the
// log.
func TestLeftoverOfACut(t *testing.T) {
	opts := testOptions(t)
	mustClose(t, mustCreate(t, opts))
	garbage := make([]byte, etcdwal.SegmentSizeBytes)
	for i := range garbage {
		garbage[i] = 0x5a
	}
	for _, name := range []string{"0.tmp", "1.tmp"} {
		if err := os.WriteFile(filepath.Join(opts.Dir, name), garbage, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, opts, meta(1, 1))
	for i := range uint64(7) { // the last segment was one of those files
		if err := l.Append(newState(2, 0, i+1), []*raftpb.Entry{entry(i+2, 2, 2000)}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	if name, _ := lastRecord(t, opts.Dir); !strings.HasPrefix(name, "0000000000000001-") {
		t.Fatalf("the last segment is %s", name)
	}
	l = mustOpen(t, opts, meta(7, 2))
	if last, _ := l.LastIndex(); last != 8 {
		t.Errorf("last index %d, want 8", last)
	}
}

// TestStartMustBeReachable: etcd's reader begins at the last segment whose name
// is not beyond the snapshot record and does not look before it.
func TestStartMustBeReachable(t *testing.T) {
	f := &files{found: []segmentFile{{index: 0}, {index: 50}, {index: 80}}, holders: map[entryID]int{
		{40, 2}: 0, {60, 2}: 1, {60, 3}: 0, {90, 3}: 1, {79, 3}: 2,
	}}
	for start, reachable := range map[entryID]bool{
		{40, 2}: true, {60, 2}: true, {60, 3}: false, {90, 3}: false, {79, 3}: true, {41, 2}: false,
	} {
		var damage *DamageError
		if err := f.checkStart(start); (err == nil) != reachable || err != nil && !errors.As(err, &damage) {
			t.Errorf("%v: %v", start, err)
		}
	}
}

func TestValidate(t *testing.T) {
	err := (&Options{}).Validate()
	for _, what := range []string{"directory", "cluster id", "member id"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q is missing in %v", what, err)
		}
	}
	if err := Create(Options{}, meta(1, 1)); err == nil {
		t.Error("created with invalid options")
	}
}

func TestMetadata(t *testing.T) {
	m := Metadata{ClusterID: 0xcdf818194e3a8c32, MemberID: 7}
	// The encoding is on disks: it must not change.
	const golden = "\x08\x01\x10\xb2\x98\xea\xf1\x94\x83\x86\xfc\xcd\x01\x18\x07"
	if got := string(m.Encode()); got != golden {
		t.Errorf("%q, want %q", got, golden)
	}
	if got, err := decodeMetadata([]byte(golden)); err != nil || got != m {
		t.Errorf("%v %v", got, err)
	}
	if _, err := decodeMetadata([]byte("\x08\x02")); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("an unknown format: %v", err)
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(Metadata{ClusterID: 1, MemberID: 2}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMetadata(b)
		if err != nil {
			return
		}
		if again, err := decodeMetadata(m.Encode()); err != nil || again != m {
			t.Fatalf("%v became %v (%v)", m, again, err)
		}
	})
}

// FuzzScan reads arbitrary bytes as a segment: it must end, in bounds.
func FuzzScan(f *testing.F) {
	f.Add([]byte{}, true)
	f.Add(make([]byte, 100), false)
	f.Add([]byte("\x04\x00\x00\x00\x00\x00\x00\x84\x08\x04\x10\x00\x00\x00\x00\x00\xff\xff"), true)
	f.Fuzz(func(t *testing.T, content []byte, last bool) {
		r := newReplay(Metadata{}, meta(10, 1))
		s := scanner{visit: r.visit}
		got, err := s.scan("segment", content, last)
		if err == nil && (got.end > int64(len(content)) || got.torn && !last) {
			t.Fatalf("%+v of %d bytes", got, len(content))
		}
		if _, err := r.finish(); err == nil && r.start == nil {
			t.Fatal("a log without a start")
		}
	})
}
