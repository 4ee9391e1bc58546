package snap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
)

var someFiles = files{"MANIFEST-1": "m", "000004.sst": strings.Repeat("sst", 200_000), "empty": "", "sub/dir/x": "deep"}

// A random state arrives at another member byte for byte, whatever the sizes of
// the reads it travels in.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 30 {
		content := make(files)
		for i := range rng.IntN(8) {
			b := make([]byte, rng.IntN(1<<rng.IntN(20)))
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			content[strings.Repeat("d/", rng.IntN(3))+fmt.Sprintf("%03d", i)] = string(b)
		}
		index := uint64(10 + round)
		sender, to := newMember(t, index, content), newMember(t, 5, files{"old": "state"})
		snapshot, archive := sender.latest(t, index)
		var wrap func(io.Reader) io.Reader
		if round%3 == 0 && len(archive) < 1<<16 {
			wrap = func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) }
		}
		if err := to.store.Stage(context.Background(), snapshot, fetching(archive, wrap)); err != nil {
			t.Fatal(err)
		}
		if err := to.store.Install(snapshot); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(to.state.content, sender.state.content) {
			t.Fatalf("round %d: installed %d files, sent %d; or they differ", round, len(to.state.content), len(sender.state.content))
		}
		to.wantDirs(t, 0)
	}
}

func TestLatestReusesAndRenews(t *testing.T) {
	m := newMember(t, 10, someFiles)
	first, err := m.store.Latest(7)
	if err != nil || first.GetMetadata().GetIndex() != 10 || len(first.GetMetadata().GetConfState().GetVoters()) != 3 {
		t.Fatalf("got %v, %v", first, err)
	}
	m.state.set(20, someFiles)
	if again, err := m.store.Latest(10); err != nil || again.GetMetadata().GetIndex() != 10 {
		t.Fatalf("got %v, %v; want the checkpoint that is there", again, err)
	}
	if newer, err := m.store.Latest(11); err != nil || newer.GetMetadata().GetIndex() != 20 {
		t.Fatalf("got %v, %v; want a new checkpoint", newer, err)
	}
	m.wantDirs(t, 1)
	if _, _, err := m.store.Open(first); !errors.Is(err, ErrGone) {
		t.Fatalf("got %v, want %v", err, ErrGone)
	}
	if _, err := m.store.Latest(21); err != raft.ErrSnapshotTemporarilyUnavailable {
		t.Fatalf("got %v beyond the applied index", err)
	}
	m.wantDirs(t, 1)
	if err := m.store.Trim(); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 0)
}

func TestReaderHoldsOldSnapshot(t *testing.T) {
	m := newMember(t, 10, someFiles)
	old, want := m.latest(t, 10)
	r, _, err := m.store.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 100)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	m.state.set(20, files{"other": "content"})
	m.latest(t, 20)
	m.wantDirs(t, 2)
	second, _, err := m.store.Open(old) // still there, so it may be opened
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(head)+string(rest) != string(want) {
		t.Fatalf("the old snapshot changed under its reader (%v)", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 2)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 1)
	_, err = r.Read(head)
	wantErr(t, err, ErrClosed)
}

// Many callers at once: none waits, one checkpoint is made.
func TestConcurrentLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		state := newFakeState(fs, 0, nil)
		state.set(10, someFiles)
		state.gate = make(chan struct{})
		s := openStore(t, Options{Dir: "data/snap", FS: fs, State: state})
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if _, err := s.Latest(10); err != raft.ErrSnapshotTemporarilyUnavailable {
					t.Errorf("got %v before a checkpoint was made", err)
				}
			})
		}
		callers.Wait() // the checkpoint is still held up
		close(state.gate)
		synctest.Wait()
		if snapshot, err := s.Latest(10); err != nil || snapshot.GetMetadata().GetIndex() != 10 {
			t.Fatalf("got %v, %v", snapshot, err)
		}
		if n := state.made(); n != 1 {
			t.Fatalf("%d checkpoints were made", n)
		}
	})
}

func TestCloseWaitsForCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		state := newFakeState(fs, 0, nil)
		state.set(10, someFiles)
		state.gate = make(chan struct{})
		s := openStore(t, Options{Dir: "data/snap", FS: fs, State: state})
		if _, err := s.Latest(1); err != raft.ErrSnapshotTemporarilyUnavailable {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed while a checkpoint was being made")
		default:
		}
		close(state.gate)
		<-closed
		if _, err := s.Latest(1); err != raft.ErrSnapshotTemporarilyUnavailable {
			t.Fatalf("got %v after Close", err)
		}
	})
}

func TestFailedCheckpointIsTriedAgain(t *testing.T) {
	m := newMember(t, 10, someFiles)
	m.state.fail = errors.New("disk on fire")
	if _, err := m.store.Latest(10); err != raft.ErrSnapshotTemporarilyUnavailable {
		t.Fatalf("got %v", err)
	}
	m.wantDirs(t, 0)
	m.state.fail = nil
	if _, err := m.store.Latest(10); err != nil {
		t.Fatal(err)
	}
}

func TestCrashLeftoversAreRemoved(t *testing.T) {
	m := newMember(t, 10, someFiles)
	snapshot, _ := m.latest(t, 10)
	other := newMember(t, 30, files{"x": "y"})
	foreign, foreignArchive := other.latest(t, 30)
	if err := m.store.Stage(context.Background(), foreign, from(foreignArchive)); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 2)
	next := openStore(t, Options{Dir: "data/snap", FS: m.fs, State: m.state, Synchronous: true})
	m.wantDirs(t, 0)
	wantErr(t, next.Install(foreign), ErrGone)
	_, _, err := next.Open(snapshot)
	wantErr(t, err, ErrGone)
}

func TestOptionsReportAllFaults(t *testing.T) {
	_, err := New(Options{})
	if err == nil || !strings.Contains(err.Error(), "directory") || !strings.Contains(err.Error(), "state machine") {
		t.Fatalf("got %v", err)
	}
}
