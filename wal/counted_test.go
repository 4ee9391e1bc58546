package wal

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// noSync takes the place of the ring where durability does not matter.
func noSync(*os.File) error { return nil }

// segmentsOf gives segments a size until the test ends.
func segmentsOf(t *testing.T, size int64) {
	old := etcdwal.SegmentSizeBytes
	t.Cleanup(func() { etcdwal.SegmentSizeBytes = old })
	etcdwal.SegmentSizeBytes = size
}

// TestRecordBytesMax: it is what etcd's WAL writes for the largest checksum.
func TestRecordBytesMax(t *testing.T) {
	for _, from := range []int{0, 100, 16370, 1<<21 - 20} { // around where lengths take a byte more
		for n := from; n < from+50; n++ {
			record := &walpb.Record{Type: new(etcdwal.CrcType), Crc: new(uint32(math.MaxUint32)), Data: make([]byte, n)}
			want := int64(lengthBytes + (proto.Size(record)+7)/8*8)
			if got := recordBytesMax(n); got != want {
				t.Fatalf("%d bytes of data take %d, not %d", n, want, got)
			}
		}
	}
}

// TestBytesAreCounted: after every write the records end at most where they are
// counted to, or a new segment would go unnoticed, and at most a word a record
// before.
func TestBytesAreCounted(t *testing.T) {
	segmentsOf(t, 1<<20)
	voters := make([]uint64, 300)
	for i := range voters {
		voters[i] = math.MaxUint64 - uint64(i)
	}
	conf := &raftpb.ConfState{Voters: voters, Learners: voters, AutoLeave: new(true)}
	for _, start := range []uint64{1, 1 << 63} { // numbers of one byte, and of ten
		opts := testOptions(t)
		opts.fdatasync, opts.MemoryBytes = noSync, 1
		anchor := meta(start, start)
		if err := Create(opts, anchor); err != nil {
			t.Fatal(err)
		}
		l := mustOpen(t, opts, anchor)
		last, records := start, int64(2) // recovery writes two
		check := func(what string) {
			t.Helper()
			_, end := lastRecord(t, opts.Dir)
			counted := l.segments.(*files).aside.bytesMax
			if counted < end || counted > end+8*records {
				t.Fatalf("%s: the records end at %d and are counted to %d", what, end, counted)
			}
		}
		check("opened")
		for _, size := range []int{0, 1, 7, 8, 120, 130, 500, 16380, 20000} {
			batch := []*raftpb.Entry{entry(last+1, start, size), entry(last+2, start, 0)}
			batch[1].Type = new(raftpb.EntryConfChangeV2)
			if err := l.Append(newState(start, math.MaxUint64, last), batch); err != nil {
				t.Fatal(err)
			}
			last, records = last+2, records+3
			check("appended")
			if err := l.Append(newState(start, math.MaxUint64, last), nil); err != nil {
				t.Fatal(err)
			}
			at := &raftpb.SnapshotMetadata{Index: new(last), Term: new(start), ConfState: conf}
			if err := l.Release(at, last); err != nil {
				t.Fatal(err)
			}
			records += 3
			check("released")
		}
		at := &raftpb.SnapshotMetadata{Index: new(last + 5), Term: new(start + 1), ConfState: conf}
		if err := l.Reset(at, newState(start+1, 0, last+5), []*raftpb.Entry{entry(last+6, start+1, 10)}); err != nil {
			t.Fatal(err)
		}
		records += 3
		check("reset")
		mustClose(t, l)
		l, records = mustOpen(t, opts, at), 2
		check("opened again")
		mustClose(t, l)
	}
}

// TestReopenedSegmentIsFollowed: what a segment held when it was opened counts.
func TestReopenedSegmentIsFollowed(t *testing.T) {
	opts := testOptions(t)
	l := mustCreate(t, opts)
	if err := l.Append(newState(2, 0, 1), []*raftpb.Entry{entry(2, 2, 6000)}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	s := syncs{held: map[string]int64{}}
	opts.fdatasync = s.fdatasync
	l = mustOpen(t, opts, meta(1, 1))
	for i, size := range []int{3000, 10} { // the second begins a segment
		if err := l.Append(newState(2, 0, 1), []*raftpb.Entry{entry(uint64(i)+3, 2, size)}); err != nil {
			t.Fatal(err)
		}
	}
	if names := s.unsynced(t, opts.Dir); len(names) > 0 {
		t.Errorf("%v not synced", names)
	}
	if found, err := listSegments(opts.Dir); err != nil || len(found) != 2 || l.segments.(*files).aside.seq != found[1].seq {
		t.Errorf("%v, and number %d is synced (%v)", found, l.segments.(*files).aside.seq, err)
	}
	mustClose(t, l)
}

// TestDirectoryIsRarelyListed: only while the last segment may be full, in the
// last hundredth of it at most. Before that there is nothing to list.
func TestDirectoryIsRarelyListed(t *testing.T) {
	segmentsOf(t, 1<<20)
	for _, size := range []int{20, 500} {
		opts := testOptions(t)
		opts.fdatasync = noSync
		mustClose(t, mustCreate(t, opts))
		l := mustOpen(t, opts, meta(1, 1))
		aside := l.segments.(*files).aside
		missing := filepath.Join(opts.Dir, "missing")
		listed, writes := 0, 0
		for last := uint64(2); aside.seq < 2; last++ {
			aside.dir = missing
			if aside.bytesMax > etcdwal.SegmentSizeBytes/100*99 {
				aside.dir = opts.Dir
			}
			if err := l.Append(newState(2, 0, last-1), []*raftpb.Entry{entry(last, 2, size)}); err != nil {
				t.Fatalf("with %d bytes in a segment: %v", aside.bytesMax, err)
			}
			writes++
			if aside.bytesMax >= etcdwal.SegmentSizeBytes { // and no segment was found
				listed++
			}
		}
		t.Logf("values of %d bytes: %d of %d writes listed the directory in vain", size, listed, writes)
		if listed*100 > writes {
			t.Errorf("values of %d bytes: %d of %d writes listed the directory in vain", size, listed, writes)
		}
		mustClose(t, l)
	}
}
