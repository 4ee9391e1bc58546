package wal

import (
	"bytes"
	"encoding/binary"
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
	if etcdwal.SegmentSizeBytes != int64(SegmentBytes) {
		fmt.Fprintf(os.Stderr, "segments are of %d bytes, not of %d\n", etcdwal.SegmentSizeBytes, SegmentBytes)
		os.Exit(1)
	}
	etcdwal.SegmentSizeBytes = 8 << 10
	os.Exit(m.Run())
}

func meta(index, term uint64) *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}
}

func testOptions(t testing.TB) Options {
	return Options{
		Dir:       filepath.Join(t.TempDir(), "member", "wal"),
		SyncAside: true, // as members do; TestSyncedByEtcd has the other way
		Metadata:  Metadata{ClusterID: 0xcdf818194e3a8c32, MemberID: 0x8e9e05c52164694d},
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
			for h.marks[k].segment != h.marks[k-1].segment { // a write that began a segment is durable
				h = write(t, rng, 12, 900)
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

// TestEveryTear cuts the last write at every byte and lets every combination of
// its first sectors go missing, in memory: none may be taken for damage.
func TestEveryTear(t *testing.T) {
	for seed := range uint64(20) {
		h := write(t, rand.New(rand.NewPCG(seed, 10)), 3, 900)
		k := len(h.marks) - 1
		if h.marks[k].segment != h.marks[0].segment {
			t.Fatal("the log should have one segment")
		}
		content, err := os.ReadFile(filepath.Join(h.opts.Dir, h.marks[k].segment))
		if err != nil {
			t.Fatal(err)
		}
		synced, end := int(h.marks[k-1].end), int(h.marks[k].end)
		try := func(what string, content []byte) {
			t.Helper()
			rec, err := recoverContents(h.opts.Metadata, [][]byte{content})
			if err != nil || rec.tail.last() < h.marks[k-1].last || rec.state.GetVote() != h.marks[k-1].state.GetVote() {
				t.Fatalf("seed %d, %s: recovered %d and %v, acknowledged %d: %v", seed, what, rec.tail.last(), rec.state, h.marks[k-1].last, err)
			}
		}
		for cut := synced; cut < end; cut++ {
			try(fmt.Sprintf("cut at %d of [%d, %d)", cut, synced, end), content[:cut])
		}
		for missing := range 1 << 6 {
			torn := bytes.Clone(content)
			for sector := range 6 {
				from := max(synced, (synced/sectorBytes+sector)*sectorBytes)
				to := min(end, (synced/sectorBytes+sector+1)*sectorBytes)
				if missing&(1<<sector) != 0 && from < to {
					clear(torn[from:to])
				}
			}
			try(fmt.Sprintf("sectors %b of [%d, %d) missing", missing, synced, end), torn)
		}
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
	rng := rand.New(rand.NewPCG(1, 4))
	h := write(t, rng, 30, 400)
	final := h.marks[len(h.marks)-1]
	found, err := listSegments(h.opts.Dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("%d segments, want some (%v)", len(found), err)
	}
	refused, harmless := 0, 0
	for i := range 300 {
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
	if refused < 200 || harmless < 2 {
		t.Errorf("%d refused and %d harmless: the test tests nothing", refused, harmless)
	}
}

// TestEveryBit flips every single bit of a short log of several segments, one at
// a time, in memory: recovery must refuse the log or find all of it.
func TestEveryBit(t *testing.T) {
	defer func(size int64) { etcdwal.SegmentSizeBytes = size }(etcdwal.SegmentSizeBytes)
	etcdwal.SegmentSizeBytes = 1000
	h := write(t, rand.New(rand.NewPCG(9, 9)), 20, 60)
	final := h.marks[len(h.marks)-1]
	found, err := listSegments(h.opts.Dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("%d segments, want some (%v)", len(found), err)
	}
	contents := make([][]byte, len(found))
	for i, f := range found {
		if contents[i], err = os.ReadFile(filepath.Join(h.opts.Dir, f.name)); err != nil {
			t.Fatal(err)
		}
	}
	refused, harmless := 0, 0
	for i, content := range contents {
		end := len(content)
		if i == len(contents)-1 {
			end = int(final.end)
		}
		for bit := range end * 8 {
			content[bit/8] ^= 1 << (bit % 8)
			rec, err := recoverContents(h.opts.Metadata, contents)
			content[bit/8] ^= 1 << (bit % 8)
			if err != nil {
				refused++
				continue
			}
			harmless++
			if !inPadding(content, bit/8) {
				t.Fatalf("bit %d of byte %d of segment %d is not noticed", bit%8, bit/8, i)
			}
			if rec.tail.last() != final.last || rec.state.GetTerm() != final.state.GetTerm() || rec.state.GetVote() != final.state.GetVote() {
				t.Fatalf("bit %d of byte %d of segment %d: recovered %d and %v, acknowledged %d and %v",
					bit%8, bit/8, i, rec.tail.last(), rec.state, final.last, final.state)
			}
			for j, e := range rec.tail.entries {
				if !proto.Equal(e, h.entries[j]) {
					t.Fatalf("bit %d of byte %d of segment %d: entry %v, want %v", bit%8, bit/8, i, e, h.entries[j])
				}
			}
		}
	}
	t.Logf("%d refused, %d harmless", refused, harmless)
	if refused < 10000 || harmless == 0 {
		t.Errorf("%d refused and %d harmless: the test tests nothing", refused, harmless)
	}
}

// inPadding says whether a byte of a good segment belongs to no record.
func inPadding(content []byte, at int) bool {
	crc := uint32(0)
	for off := 0; ; {
		f, verdict, _ := readFrame(content, off, crc)
		if verdict != whole {
			return false
		}
		size, _, _ := frameSize(binary.LittleEndian.Uint64(content[off:]))
		if at < f.end {
			return at >= off+lengthBytes+int(size)
		}
		off, crc = f.end, f.crc
	}
}

// recoverContents recovers the log in the given segments as Open does.
func recoverContents(metadata Metadata, contents [][]byte) (recovered, error) {
	r := newReplay(metadata, meta(1, 1))
	s := scanner{visit: r.visit}
	for i, content := range contents {
		if _, err := s.scan(fmt.Sprint(i), content, i == len(contents)-1); err != nil {
			return recovered{}, err
		}
	}
	return r.finish()
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

// TestTruncatedSegment: a segment that is not the last was synced as a whole, so
// wherever it ends early it is damaged.
func TestTruncatedSegment(t *testing.T) {
	h := write(t, rand.New(rand.NewPCG(7, 7)), 30, 900)
	found, err := listSegments(h.opts.Dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("%d segments (%v)", len(found), err)
	}
	var contents [][]byte
	for _, f := range found {
		content, err := os.ReadFile(filepath.Join(h.opts.Dir, f.name))
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, content)
	}
	if _, err := recoverContents(h.opts.Metadata, contents); err != nil {
		t.Fatal(err)
	}
	whole := contents[1]
	for end := range len(whole) {
		contents[1] = whole[:end]
		var damage *DamageError
		if _, err := recoverContents(h.opts.Metadata, contents); !errors.As(err, &damage) {
			t.Fatalf("cut off at %d of %d: %v", end, len(whole), err)
		}
	}
}

// TestDamageInZeros: a value of zeros makes every damage to its record look like
// a torn write. What is behind it tells.
func TestDamageInZeros(t *testing.T) {
	opts := testOptions(t)
	l := mustCreate(t, opts)
	_, begin := lastRecord(t, opts.Dir)
	for i, size := range []int{2000, 10} {
		if err := l.Append(newState(5, 0x8e9e05c52164694d, 1), []*raftpb.Entry{entry(uint64(i)+2, 5, size)}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	name, _ := lastRecord(t, opts.Dir)
	path := filepath.Join(opts.Dir, name)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[begin+1500] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(opts, meta(1, 1))
	var damage *DamageError
	if !errors.As(err, &damage) || damage.File != path || damage.Offset != begin {
		t.Fatalf("want damage at %d: %v", begin, err)
	}
}
