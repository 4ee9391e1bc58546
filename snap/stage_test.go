package snap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Whichever byte is changed, the snapshot is refused, and what stays of the
// attempt does not spoil the next one.
func TestCorruptArchive(t *testing.T) {
	sender := newMember(t, 10, files{"a": "some content", "b": "more of it"})
	snapshot, archive := sender.latest(t, 10)
	for i := range archive {
		to := newMember(t, 5, nil)
		damaged := bytes.Clone(archive)
		damaged[i] ^= 0x10
		if err := to.store.Stage(context.Background(), snapshot, from(damaged)); err == nil {
			t.Fatalf("byte %d of %d was changed and nobody noticed", i, len(archive))
		}
		wantErr(t, to.store.Install(snapshot), ErrGone)
		to.wantInstalled(t, snapshot, from(archive), sender)
	}
}

// Wherever the connection breaks, the next attempt goes on right there.
func TestResume(t *testing.T) {
	sender := newMember(t, 10, files{"a": "some content", "b": "", "c": "more of it"})
	snapshot, archive := sender.latest(t, 10)
	resumed := 0
	for n := range archive {
		to := newMember(t, 5, nil)
		err := to.store.Stage(context.Background(), snapshot, from(archive[:n]))
		if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("cut after %d of %d bytes: got %v", n, len(archive), err)
		}
		first := to.store.Stats().ReceivedBytes
		to.wantInstalled(t, snapshot, from(archive), sender)
		s := to.store.Stats()
		if s.ResumedBytes != first || s.ReceivedBytes != sender.contentBytes() {
			t.Fatalf("cut after %d of %d bytes: %d received, then %+v; want %d in all", n, len(archive), first, s, sender.contentBytes())
		}
		if first > 0 {
			resumed++
		}
	}
	if resumed < 20 {
		t.Fatalf("only %d attempts found something to go on with", resumed)
	}
}

// A connection that breaks at random places, again and again, brings every byte
// once.
func TestResumeManyTimes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	breaks := 0
	for {
		left := int64(rng.IntN(100_000))
		cut := func(r io.Reader) io.Reader {
			limited := io.LimitReader(r, left)
			return readerFunc(func(p []byte) (int, error) {
				n, err := limited.Read(p)
				left -= int64(n)
				return n, err
			})
		}
		err := to.store.Stage(context.Background(), snapshot, fetching(archive, cut))
		if err == nil {
			break
		}
		if breaks++; breaks > 1000 {
			t.Fatal(err)
		}
	}
	if err := to.store.Install(snapshot); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(to.state.content, sender.state.content) {
		t.Fatal("installed something else")
	}
	if s := to.store.Stats(); breaks < 3 || s.ReceivedBytes != sender.contentBytes() {
		t.Fatalf("after %d breaks %+v, want %d received", breaks, s, sender.contentBytes())
	}
}

// forge makes a snapshot whose descriptor and archive agree on a bad manifest.
func forge(m manifest, content string) (*raftpb.Snapshot, []byte) {
	encoded := m.encode()
	archive := append([]byte(archiveMagic), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(archive[len(archiveMagic):], uint32(len(encoded)))
	archive = append(append(archive, encoded...), content...)
	d := descriptor{manifest: digestOf(encoded), sizeBytes: int64(len(archive))}
	return &raftpb.Snapshot{
		Data:     d.encode(),
		Metadata: &raftpb.SnapshotMetadata{Index: proto.Uint64(m.index), Term: proto.Uint64(m.term)},
	}, archive
}

func TestForgedManifests(t *testing.T) {
	m := newMember(t, 5, nil)
	for _, name := range []string{
		"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "a/./b", `..\x`, `C:\x`, "C:x", "nul\x00",
		string(bytes.Repeat([]byte("n"), nameBytesMax+1)),
	} {
		snapshot, archive := forge(manifest{index: 10, term: 2, files: []file{{name: name, sizeBytes: 0}}}, "")
		wantErr(t, m.store.Stage(context.Background(), snapshot, from(archive)), ErrCorrupt)
	}
	for what, bad := range map[string]manifest{
		"listed twice":     {index: 10, term: 2, files: []file{{name: "a"}, {name: "a"}}},
		"out of order":     {index: 10, term: 2, files: []file{{name: "b"}, {name: "a"}}},
		"negative size":    {index: 10, term: 2, files: []file{{name: "a", sizeBytes: -1}}},
		"overflowing size": {index: 10, term: 2, files: []file{{name: "a", sizeBytes: 1<<63 - 1}, {name: "b", sizeBytes: 1<<63 - 1}}},
		"another size":     {index: 10, term: 2, files: []file{{name: "a", sizeBytes: 1 << 40}}},
	} {
		snapshot, archive := forge(bad, "")
		if err := m.store.Stage(context.Background(), snapshot, from(archive)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	m.wantDirs(t, 0)
}

func TestMetadataMustMatch(t *testing.T) {
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	snapshot.Metadata.Index = proto.Uint64(11)
	wantErr(t, to.store.Stage(context.Background(), snapshot, from(archive)), ErrCorrupt)
}

func TestFileMissingOrRottenAtSender(t *testing.T) {
	for _, damage := range []func(fs vfs.FS, path string) error{
		func(fs vfs.FS, path string) error { return fs.Remove(path) },
		func(fs vfs.FS, path string) error { return writeFiles(fs, fs.PathDir(path), files{"a": "same size!"}) },
		func(fs vfs.FS, path string) error { return writeFiles(fs, fs.PathDir(path), files{"a": "short"}) },
	} {
		m := newMember(t, 10, files{"a": "0123456789"})
		snapshot, _ := m.latest(t, 10)
		if err := damage(m.fs, m.fs.PathJoin("data/snap", m.dirs(t)[0], "a")); err != nil {
			t.Fatal(err)
		}
		r, _, err := m.store.Open(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err == nil {
			t.Error("a damaged checkpoint was read without an error")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What Stage has acknowledged survives a power cut in full.
func TestStagedIsDurable(t *testing.T) {
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	if err := to.store.Stage(context.Background(), snapshot, from(archive)); err != nil {
		t.Fatal(err)
	}
	after := to.fs.CrashClone(vfs.CrashCloneCfg{})
	dirs, err := after.List("data/snap")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("after the cut: %v, %v", dirs, err)
	}
	got, err := readFiles(after, after.PathJoin("data/snap", dirs[0]))
	if err != nil || !maps.Equal(got, sender.state.content) {
		t.Fatalf("after the cut the staged files differ (%v)", err)
	}
}

// A write or fsync that fails, at whichever operation, is never taken for success.
func TestStageFailsWithTheDisk(t *testing.T) {
	sender := newMember(t, 10, files{"a": "0123456789", "d/b": "x"})
	snapshot, archive := sender.latest(t, 10)
	failures := 0
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		counter := errorfs.OnIndex(-1)
		fs := errorfs.Wrap(mem, errorfs.ErrInjected.If(errorfs.And(errorfs.Writes, counter)))
		s := openStore(t, Options{Dir: "data/snap", FS: fs, State: newFakeState(mem, 5, nil), Synchronous: true})
		counter.Store(n)
		err := s.Stage(context.Background(), snapshot, from(archive))
		if counter.Load() >= 0 { // never reached
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil || !strings.Contains(err.Error(), "injected") {
			t.Fatalf("operation %d failed, Stage returned %v", n, err)
		}
		wantErr(t, s.Install(snapshot), ErrGone)
		failures++
	}
	if failures < 10 {
		t.Fatalf("only %d operations were made to fail", failures)
	}
}

// stageAt stages a snapshot of another state at index.
func (m *member) stageAt(t *testing.T, index uint64) (*raftpb.Snapshot, error) {
	t.Helper()
	sender := newMember(t, index, files{"x": fmt.Sprint(index)})
	snapshot, archive := sender.latest(t, index)
	return snapshot, m.store.Stage(context.Background(), snapshot, from(archive))
}

// What raft may install is never pushed out; what it refused is.
func TestStagedSnapshotsArePinned(t *testing.T) {
	to := newMember(t, 5, nil)
	var snapshots []*raftpb.Snapshot
	for index := uint64(10); index < 10+stagedMax; index++ {
		snapshot, err := to.stageAt(t, index)
		if err != nil {
			t.Fatal(err)
		}
		snapshots = append(snapshots, snapshot)
	}
	_, err := to.stageAt(t, 20)
	wantErr(t, err, ErrBusy)

	// The same snapshot again costs no transfer, and one refusal of two
	// deliveries does not let it go.
	if err := to.store.Stage(context.Background(), snapshots[0], nil); err != nil {
		t.Fatal(err)
	}
	to.store.Refused(snapshots[0])
	_, err = to.stageAt(t, 20)
	wantErr(t, err, ErrBusy)

	to.store.Refused(snapshots[2])
	if _, err := to.stageAt(t, 20); err != nil {
		t.Fatal(err)
	}
	to.wantDirs(t, stagedMax)
	wantErr(t, to.store.Install(snapshots[2]), ErrGone)
	if err := to.store.Install(snapshots[0]); err != nil {
		t.Fatal(err)
	}
	if err := to.store.Install(snapshots[1]); err != nil {
		t.Fatal(err)
	}
	to.store.Refused(snapshots[1]) // too late, and harmless
	to.wantDirs(t, 1)
}

// What raft refused goes once the applied index has passed it.
func TestObsoleteStagingIsDropped(t *testing.T) {
	to := newMember(t, 5, nil)
	snapshot, err := to.stageAt(t, 10)
	if err != nil {
		t.Fatal(err)
	}
	to.store.Refused(snapshot)
	to.state.set(10, nil)
	if _, err := to.stageAt(t, 20); err != nil {
		t.Fatal(err)
	}
	to.wantDirs(t, 1)
}

func TestOnlyOneTransferOfASnapshot(t *testing.T) {
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	entered, release := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		first <- to.store.Stage(context.Background(), snapshot, func(ranges [][2]int64, remaining int64) (io.Reader, error) {
			if remaining > 0 {
				close(entered)
				<-release
				return nil, io.ErrUnexpectedEOF
			}
			return from(archive)(ranges, remaining)
		})
	}()
	<-entered // the first one is under way
	wantErr(t, to.store.Stage(context.Background(), snapshot, from(archive)), ErrBusy)
	close(release)
	wantErr(t, <-first, io.ErrUnexpectedEOF)
	to.wantDirs(t, 0)
}

func TestStageIsCancellable(t *testing.T) {
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantErr(t, to.store.Stage(ctx, snapshot, from(archive)), context.Canceled)
	to.wantDirs(t, 0)
}

func TestNoRoom(t *testing.T) {
	sender, to := newMember(t, 10, someFiles), newMember(t, 5, nil)
	snapshot, archive := sender.latest(t, 10)
	to.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000})
	wantErr(t, to.store.Stage(context.Background(), snapshot, from(archive)), ErrNoRoom)
	to.wantDirs(t, 0)
}

func FuzzDecodeDescriptor(f *testing.F) {
	f.Add(descriptor{manifest: digestOf(nil), sizeBytes: 12}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeDescriptor(data)
		if err != nil {
			return
		}
		if again, err := decodeDescriptor(d.encode()); err != nil || again != d {
			t.Fatalf("%+v became %+v, %v", d, again, err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	m := manifest{index: 3, term: 2, files: []file{{"a/b", 10, 7}, {"c", 0, 0}}}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			return
		}
		for _, file := range m.files {
			if file.name == "" || file.name[0] == '/' || bytes.Contains([]byte("/"+file.name+"/"), []byte("/../")) {
				t.Fatalf("name %q was let through", file.name)
			}
		}
		again, err := decodeManifest(m.encode())
		if err != nil || !bytes.Equal(again.encode(), m.encode()) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
