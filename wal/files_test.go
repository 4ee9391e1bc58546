package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestMain makes segments small: etcd's size is a package variable.
func TestMain(m *testing.M) {
	etcdwal.SegmentSizeBytes = 8 << 10
	os.Exit(m.Run())
}

func meta(index, term uint64) *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}
}

func testOptions(t testing.TB) Options {
	return Options{
		Dir:      filepath.Join(t.TempDir(), "member", "wal"),
		Metadata: Metadata{ClusterID: 0xcdf818194e3a8c32, MemberID: 0x8e9e05c52164694d},
	}
}

func mustCreate(t testing.TB, opts Options) *Log {
	t.Helper()
	if err := Create(opts, meta(1, 1)); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, opts, meta(1, 1))
}

func mustOpen(t testing.TB, opts Options, state *raftpb.SnapshotMetadata) *Log {
	t.Helper()
	l, err := Open(opts, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // of a log that its test did not close
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// mark is the state of a log after a write was acknowledged.
type mark struct {
	segment string
	end     int64
	last    uint64
	state   *raftpb.HardState
}

// history is a closed log with what was acknowledged on the way.
type history struct {
	opts    Options
	entries []*raftpb.Entry // from index 2 on
	marks   []mark
}

// write makes a log of some segments by appends of random size.
func write(t *testing.T, rng *rand.Rand, appends, maxData int) history {
	t.Helper()
	h := history{opts: testOptions(t)}
	l := mustCreate(t, h.opts)
	last, commit, term := uint64(1), uint64(1), uint64(5)
	for i := range appends {
		var batch []*raftpb.Entry
		for range 1 + rng.IntN(4) {
			last++
			e := entry(last, term, rng.IntN(maxData))
			for j := range e.Data {
				e.Data[j] = byte(1 + rng.IntN(255))
			}
			batch = append(batch, e)
		}
		commit += rng.Uint64N(last - commit + 1)
		if i%7 == 6 {
			term++
		}
		hs := newState(term, 0x8e9e05c52164694d, commit)
		if err := l.Append(proto.CloneOf(hs), batch); err != nil {
			t.Fatal(err)
		}
		h.entries = append(h.entries, batch...)
		name, end := lastRecord(t, h.opts.Dir)
		h.marks = append(h.marks, mark{segment: name, end: end, last: last, state: hs})
	}
	mustClose(t, l)
	return h
}

// lastRecord returns the last segment and where its last record ends.
func lastRecord(t *testing.T, dir string) (string, int64) {
	t.Helper()
	found, err := listSegments(dir)
	if err != nil || len(found) == 0 {
		t.Fatalf("%v %v", found, err)
	}
	name := found[len(found)-1].name
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	s := scanner{visit: func(Record) error { return nil }}
	got, err := s.scan(name, content, true)
	if err != nil {
		t.Fatal(err)
	}
	return name, got.end
}

// copyOf copies the log's files and returns options for the copy.
func (h history) copyOf(t *testing.T) Options {
	t.Helper()
	opts := h.opts
	opts.Dir = filepath.Join(t.TempDir(), "wal")
	if err := os.CopyFS(opts.Dir, os.DirFS(h.opts.Dir)); err != nil {
		t.Fatal(err)
	}
	return opts
}

// verify checks that l has everything up to index last, and returns its last.
func (h history) verify(t *testing.T, l *Log, last uint64) uint64 {
	t.Helper()
	got, _ := l.LastIndex()
	if got < last {
		t.Fatalf("the log ends at %d, %d was acknowledged", got, last)
	}
	entries, err := l.Entries(2, got+1, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if !proto.Equal(e, h.entries[i]) {
			t.Fatalf("entry %v, want %v", e, h.entries[i])
		}
	}
	return got
}

// TestTornTail lets a write be torn in every way a disk may: cut short, or with
// some of its sectors missing. What was acknowledged before it must be there,
// with a prefix of the write.
func TestTornTail(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			h := write(t, rng, 12, 900)
			k := len(h.marks) - 1
			if h.marks[k].segment != h.marks[k-1].segment {
				t.Skip("the last write began a segment: it is durable as a whole")
			}
			opts := h.copyOf(t)
			path := filepath.Join(opts.Dir, h.marks[k].segment)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tear(rng, content, h.marks[k-1].end, h.marks[k].end, &content)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			l := mustOpen(t, opts, meta(1, 1))
			last := h.verify(t, l, h.marks[k-1].last)
			// It goes on from there, and what it cut off never comes back.
			term := h.marks[k].state.GetTerm() + 1
			next := entry(last+1, term, 10)
			hs, _, _ := l.InitialState()
			if hs.GetCommit() < h.marks[k-1].state.GetCommit() || hs.GetTerm() < h.marks[k-1].state.GetTerm() {
				t.Fatalf("recovered %v, acknowledged %v", hs, h.marks[k-1].state)
			}
			if err := l.Append(newState(term, 0, hs.GetCommit()), []*raftpb.Entry{next}); err != nil {
				t.Fatal(err)
			}
			mustClose(t, l)
			l = mustOpen(t, opts, meta(1, 1))
			if got, _ := l.Term(last + 1); got != term {
				t.Fatalf("term %d of the entry after the repair, want %d", got, term)
			}
		})
	}
}

// tear damages content between synced and end as a crash in the middle of a
// write may.
func tear(rng *rand.Rand, content []byte, synced, end int64, out *[]byte) {
	if rng.IntN(2) == 0 {
		*out = content[:synced+rng.Int64N(end-synced)]
		return
	}
	for off := synced; off < end; {
		next := min(end, (off/sectorBytes+1)*sectorBytes)
		if rng.IntN(2) == 0 {
			clear(content[off:next])
		}
		off = next
	}
}

// TestBitFlips flips bits anywhere in what was written. A log that opens must
// have everything; a log that does not must say where it is damaged and be left
// as it is.
func TestBitFlips(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 4))
	h := write(t, rng, 30, 400)
	final := h.marks[len(h.marks)-1]
	found, err := listSegments(h.opts.Dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("%d segments, want some (%v)", len(found), err)
	}
	refused, harmless := 0, 0
	for i := range 1500 {
		opts := h.copyOf(t)
		segment := found[rng.IntN(len(found))].name
		path := filepath.Join(opts.Dir, segment)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		end := int64(len(content))
		if segment == final.segment {
			end = final.end
		}
		at := rng.Int64N(end)
		content[at] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(opts, meta(1, 1))
		if err == nil {
			h.verify(t, l, final.last)
			if hs, _, _ := l.InitialState(); hs.GetVote() != final.state.GetVote() || hs.GetTerm() != final.state.GetTerm() {
				t.Fatalf("flip %d in %s at %d: recovered %v, acknowledged %v", i, segment, at, hs, final.state)
			}
			mustClose(t, l)
			harmless++
			continue
		}
		refused++
		var damage *DamageError
		if !errors.As(err, &damage) && !errors.Is(err, ErrForeign) {
			t.Fatalf("flip %d in %s at %d: %v", i, segment, at, err)
		}
		if damage != nil && (!strings.Contains(err.Error(), ".wal is damaged at offset") || !strings.Contains(err.Error(), "remove this member")) {
			t.Fatalf("the error does not help: %v", err)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, content) {
			t.Fatalf("a damaged log was changed (%v)", err)
		}
	}
	t.Logf("%d refused, %d harmless", refused, harmless)
	if refused < 1000 || harmless < 5 {
		t.Errorf("%d refused and %d harmless: the test tests nothing", refused, harmless)
	}
}

// TestDamageThatLooksTorn: sectors of zeros before records that were written
// later cannot be the trace of a torn write, as those were written after a sync.
func TestDamageThatLooksTorn(t *testing.T) {
	h := write(t, rand.New(rand.NewPCG(5, 5)), 4, 800)
	first, final := h.marks[0], h.marks[len(h.marks)-1]
	if first.segment != final.segment {
		t.Fatal("the log should have one segment")
	}
	for at := (first.end/sectorBytes - 1) * sectorBytes; at+sectorBytes < h.marks[1].end; at += sectorBytes {
		opts := h.copyOf(t)
		path := filepath.Join(opts.Dir, first.segment)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(content[at : at+sectorBytes])
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(opts, meta(1, 1))
		var damage *DamageError
		if !errors.As(err, &damage) || damage.File != path {
			t.Fatalf("sector at %d: %v", at, err)
		}
		if damage.Offset > at+sectorBytes || damage.Offset < at-4096 {
			t.Fatalf("sector at %d: damage reported at %d", at, damage.Offset)
		}
	}
}

// TestMissingSegment: a hole in the sequence is damage.
func TestMissingSegment(t *testing.T) {
	h := write(t, rand.New(rand.NewPCG(6, 6)), 40, 900)
	found, err := listSegments(h.opts.Dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("%d segments (%v)", len(found), err)
	}
	if err := os.Remove(filepath.Join(h.opts.Dir, found[1].name)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(h.opts, meta(1, 1))
	var damage *DamageError
	if !errors.As(err, &damage) || damage.File != filepath.Join(h.opts.Dir, found[2].name) {
		t.Fatalf("%v", err)
	}
}
