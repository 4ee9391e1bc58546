package snap

import (
	"context"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

func tables(name string) bool { return strings.HasSuffix(name, ".sst") }

// reusing starts a member whose .sst files never change under their names.
func reusing(t *testing.T, index uint64, content files) *member {
	t.Helper()
	m := newMember(t, index, content)
	m.store = openStore(t, Options{Dir: "data/snap", FS: m.fs, State: linkingState{m.state}, Synchronous: true, Immutable: tables})
	return m
}

// linkingState shares its files.
type linkingState struct{ *fakeState }

func (s linkingState) LinkLive(name, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.content[name]
	if !ok {
		return io.EOF
	}
	return writeFiles(s.fs, s.fs.PathDir(to), files{name: text})
}

var (
	big   = strings.Repeat("big", 10_000)
	other = strings.Repeat("oth", 10_000) // as long as big
)

// A newer snapshot costs its new tables only: the others are linked from what
// was staged before, and from the live state once that was installed.
func TestReuse(t *testing.T) {
	sender, to := reusing(t, 10, files{"1.sst": big, "2.sst": "two", "MANIFEST": big}), reusing(t, 5, files{"1.sst": other})
	first, archive := sender.latest(t, 10)
	cut := len(archive) - 2 // in the middle of the last file
	if err := to.store.Stage(context.Background(), first, from(archive[:cut])); err == nil {
		t.Fatal("half a snapshot was taken for whole")
	}
	if s := to.store.Stats(); s.ReusedBytes != 0 {
		t.Fatalf("a live file of the same name and size, with another content, was reused: %+v", s)
	}
	sender.state.set(20, files{"1.sst": big, "3.sst": "three", "MANIFEST": "new"})
	second, archive := sender.latest(t, 20)
	received := to.store.Stats().ReceivedBytes
	if err := to.store.Stage(context.Background(), second, from(archive)); err != nil {
		t.Fatal(err)
	}
	s := to.store.Stats()
	if s.ReusedBytes != uint64(len(big)) || s.ReceivedBytes-received != sender.contentBytes()-uint64(len(big)) {
		t.Fatalf("the second snapshot: %+v after %d bytes received", s, received)
	}
	if err := to.store.Install(second); err != nil {
		t.Fatal(err)
	}
	sender.state.set(30, files{"1.sst": big, "3.sst": "three", "4.sst": "four"})
	third, archive := sender.latest(t, 30)
	received = s.ReceivedBytes
	to.wantReplaced(t, third, archive, sender)
	if s := to.store.Stats(); s.ReusedBytes != 2*uint64(len(big))+uint64(len("three")) || s.ReceivedBytes-received > 100 {
		t.Fatalf("the third snapshot: %+v after %d bytes received", s, received)
	}
}

// wantReplaced stages and installs, and compares with the sender.
func (m *member) wantReplaced(t *testing.T, snapshot *raftpb.Snapshot, archive []byte, sender *member) {
	t.Helper()
	if err := m.store.Stage(context.Background(), snapshot, from(archive)); err != nil {
		t.Fatal(err)
	}
	if err := m.store.Install(snapshot); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(m.state.content, sender.state.content) {
		t.Fatal("installed something else")
	}
}

// A checkpoint that proves damaged is given up, and Latest makes another one.
func TestDamagedCheckpointIsReplaced(t *testing.T) {
	m := newMember(t, 10, files{"a": "0123456789"})
	snapshot, _ := m.latest(t, 10)
	if err := writeFiles(m.fs, m.fs.PathJoin("data/snap", m.dirs(t)[0]), files{"a": "same size!"}); err != nil {
		t.Fatal(err)
	}
	r, _, err := m.store.Open(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r)
	wantErr(t, err, ErrCorrupt)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 0)
	again, _ := m.latest(t, 10)
	m.store.Discard(again) // as a receiver found
	m.wantDirs(t, 0)
	if m.latest(t, 10); m.state.made() != 3 {
		t.Fatalf("%d checkpoints were made", m.state.made())
	}
}

// What nobody comes back for gives its disk space back; what raft may install
// does not.
func TestIdleSnapshotsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t, 10, someFiles)
		m.store = openStore(t, Options{Dir: "data/snap", FS: m.fs, State: m.state, KeepFor: time.Minute})
		if _, err := m.store.Latest(10); err == nil {
			t.Fatal("a checkpoint was there before it was made")
		}
		synctest.Wait()
		snapshot, err := m.store.Latest(10)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := m.store.Open(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		pinned, err := m.stageAt(t, 40)
		if err != nil {
			t.Fatal(err)
		}
		sender := newMember(t, 50, someFiles)
		broken, archive := sender.latest(t, 50)
		if err := m.store.Stage(context.Background(), broken, from(archive[:len(archive)-1])); err == nil {
			t.Fatal("half a snapshot was taken for whole")
		}
		m.wantDirs(t, 3)
		time.Sleep(3 * time.Minute) // of the bubble
		synctest.Wait()
		m.wantDirs(t, 2) // the reader and raft may still want theirs
		if m.store.Needed() != 10 {
			t.Fatalf("needed from %d on", m.store.Needed())
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		m.store.Refused(pinned)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		m.wantDirs(t, 0)
		if m.store.Needed() != 0 {
			t.Fatalf("needed from %d on", m.store.Needed())
		}
	})
}

// A power cut at any moment of staging and installing leaves the old state or
// the new one, and a store that works.
func TestCrashWhileStaging(t *testing.T) {
	sender := newMember(t, 10, files{"a": "some content", "b": "more"})
	snapshot, archive := sender.latest(t, 10)
	for n := range archive {
		to := newMember(t, 5, nil)
		if err := to.store.Stage(context.Background(), snapshot, from(archive[:n])); err == nil {
			t.Fatal("half a snapshot was taken for whole")
		}
		after := to.fs.CrashClone(vfs.CrashCloneCfg{})
		next := openStore(t, Options{Dir: "data/snap", FS: after, State: newFakeState(after, 5, nil), Synchronous: true})
		wantErr(t, next.Install(snapshot), ErrGone)
		if err := next.Stage(context.Background(), snapshot, from(archive)); err != nil {
			t.Fatal(err)
		}
		if err := next.Install(snapshot); err != nil {
			t.Fatal(err)
		}
	}
}
