package wal_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/wal"
	"raftkv/wal/crashlog"
)

// storage shows that a log is raft's storage once somebody adds snapshots.
type storage struct{ *wal.Log }

func (storage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

var _ raft.Storage = storage{}

func openFake(t *testing.T) (*wal.Log, *crashlog.Disk) {
	t.Helper()
	disk := crashlog.New(crashOptions.Metadata, 1<<20)
	start := position{1, 1}
	if err := disk.Create(start.meta()); err != nil {
		t.Fatal(err)
	}
	segments, err := disk.Open()
	if err != nil {
		t.Fatal(err)
	}
	l, err := wal.OpenOn(segments, crashOptions, start.meta())
	if err != nil {
		t.Fatal(err)
	}
	return l, disk
}

// TestReadableOnlyAfterSync looks at the log in the middle of its fsync.
func TestReadableOnlyAfterSync(t *testing.T) {
	l, disk := openFake(t)
	looked := 0
	disk.OnStep = func(step crashlog.Step) error {
		if step == crashlog.StepSync {
			looked++
			if last, _ := l.LastIndex(); last != 1 {
				t.Errorf("the log ends at %d before the fsync", last)
			}
		}
		return nil
	}
	if err := l.Append(hardState(1, 0, 1), []*raftpb.Entry{{Index: new(uint64(2)), Term: new(uint64(1))}}); err != nil {
		t.Fatal(err)
	}
	if last, _ := l.LastIndex(); last != 2 || looked != 1 {
		t.Errorf("the log ends at %d after %d fsyncs", last, looked)
	}
}

// TestReusedHardState: a caller that breaks the contract and reuses its struct
// still gets its vote synced.
func TestReusedHardState(t *testing.T) {
	l, disk := openFake(t)
	hs := hardState(2, 1, 1)
	for term := uint64(2); term < 5; term++ {
		hs.Term = new(term)
		before := disk.Syncs()
		if err := l.Append(hs, nil); err != nil {
			t.Fatal(err)
		}
		if disk.Syncs() == before {
			t.Fatalf("the vote in term %d was not synced", term)
		}
	}
}

// TestReadersDuringWrites is for the race detector.
func TestReadersDuringWrites(t *testing.T) {
	l, _ := openFake(t)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				first, _ := l.FirstIndex()
				last, _ := l.LastIndex()
				if _, err := l.Entries(first, last+1, math.MaxUint64); err != nil && !errors.Is(err, raft.ErrCompacted) {
					t.Errorf("entries [%d, %d]: %v", first, last, err)
				}
				if _, err := l.Stats(); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := uint64(2); i < 500; i++ {
		if err := l.Append(hardState(1, 0, i), []*raftpb.Entry{{Index: new(i), Term: new(uint64(1)), Data: make([]byte, 100)}}); err != nil {
			t.Fatal(err)
		}
		if err := l.Release(position{i, 1}.meta(), i); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

func TestMemory(t *testing.T) {
	l := wal.NewMemory(wal.Options{MemoryBytes: 300}, position{1, 1}.meta())
	for i := uint64(2); i < 20; i++ {
		if err := l.Append(hardState(1, 0, i), []*raftpb.Entry{{Index: new(i), Term: new(uint64(1))}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Release(position{10, 1}.meta(), 15); err != nil {
		t.Fatal(err)
	}
	if first, _ := l.FirstIndex(); first != 16 {
		t.Errorf("the log starts at %d, want 16", first)
	}
	if err := l.Reset(position{30, 2}.meta(), hardState(2, 0, 30), nil); err != nil {
		t.Fatal(err)
	}
	if last, _ := l.LastIndex(); last != 30 {
		t.Errorf("the log ends at %d, want 30", last)
	}
	if hs, conf, err := l.InitialState(); err != nil || hs.GetCommit() != 1 || len(conf.GetVoters()) != 3 {
		t.Errorf("InitialState: %v %v %v", hs, conf, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestFakeIsLikeFiles does the same random things to a log on real files and to
// one on fake segments, with restarts, and compares them.
func TestFakeIsLikeFiles(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 8))
			opts := crashOptions
			opts.Dir = filepath.Join(t.TempDir(), "wal")
			start := position{1, 1}
			fake, disk := openFake(t)
			if err := wal.Create(opts, start.meta()); err != nil {
				t.Fatal(err)
			}
			files, err := wal.Open(opts, start.meta())
			if err != nil {
				t.Fatal(err)
			}
			term, last, applied := uint64(1), uint64(1), start
			for range 150 {
				both := func(do func(*wal.Log) error) {
					t.Helper()
					if a, b := do(files), do(fake); a != nil || b != nil {
						t.Fatalf("files: %v, fake: %v", a, b)
					}
				}
				switch n := rng.IntN(20); {
				case n < 14:
					first := last + 1
					if n < 3 {
						term++
						first = applied.index + 1 + rng.Uint64N(last-applied.index+1)
					}
					var entries []*raftpb.Entry
					for i := range uint64(1 + rng.IntN(4)) {
						entries = append(entries, &raftpb.Entry{Index: new(first + i), Term: new(term), Data: make([]byte, rng.IntN(900))})
					}
					last = first + uint64(len(entries)) - 1
					commit := applied.index
					if rng.IntN(2) == 0 {
						applied = position{last, term}
						commit = last
					}
					both(func(l *wal.Log) error { return l.Append(hardState(term, 0, commit), entries) })
				case n < 17:
					both(func(l *wal.Log) error { return l.Release(applied.meta(), applied.index) })
				case n < 18:
					term++
					applied = position{last + rng.Uint64N(10) + 1, term}
					last = applied.index
					both(func(l *wal.Log) error { return l.Reset(applied.meta(), hardState(term, 0, last), nil) })
				default:
					both((*wal.Log).Close)
					segments, err := disk.Open()
					if err != nil {
						t.Fatal(err)
					}
					if fake, err = wal.OpenOn(segments, opts, applied.meta()); err != nil {
						t.Fatal(err)
					}
					if files, err = wal.Open(opts, applied.meta()); err != nil {
						t.Fatal(err)
					}
				}
				compareLogs(t, files, fake)
			}
			if err := files.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// compareLogs compares what both logs have; how far back they go depends on
// where their segments end.
func compareLogs(t *testing.T, a, b *wal.Log) {
	t.Helper()
	firstA, _ := a.FirstIndex()
	firstB, _ := b.FirstIndex()
	lastA, _ := a.LastIndex()
	lastB, _ := b.LastIndex()
	if lastA != lastB {
		t.Fatalf("one ends at %d, the other at %d", lastA, lastB)
	}
	first := max(firstA, firstB)
	entriesA, errA := a.Entries(first, lastA+1, math.MaxUint64)
	entriesB, errB := b.Entries(first, lastA+1, math.MaxUint64)
	if errA != nil || errB != nil {
		t.Fatalf("%v, %v", errA, errB)
	}
	for i := range entriesA {
		if !proto.Equal(entriesA[i], entriesB[i]) {
			t.Fatalf("one has %v, the other %v", entriesA[i], entriesB[i])
		}
	}
	hsA, _, _ := a.InitialState()
	hsB, _, _ := b.InitialState()
	if !proto.Equal(hsA, hsB) {
		t.Fatalf("one recovered %v, the other %v", hsA, hsB)
	}
}
