package snap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is a model of the state: what a snapshot has to carry.
type files map[string]string

// fakeState is a state machine whose state is a few files.
type fakeState struct {
	fs   vfs.FS
	gate chan struct{} // nil, or a checkpoint waits for a token

	mu          sync.Mutex
	content     files
	index, term uint64
	fail        error
	checkpoints int
}

func newFakeState(fs vfs.FS, index uint64, content files) *fakeState {
	return &fakeState{fs: fs, index: index, term: 2, content: content}
}

func (s *fakeState) Checkpoint(dir string) (*raftpb.SnapshotMetadata, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoints++
	if s.fail != nil {
		return nil, s.fail
	}
	if err := writeFiles(s.fs, dir, s.content); err != nil {
		return nil, err
	}
	return &raftpb.SnapshotMetadata{
		Index: proto.Uint64(s.index), Term: proto.Uint64(s.term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
	}, nil
}

func (s *fakeState) Replace(dir string) error {
	content, err := readFiles(s.fs, dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Sscanf(content["meta"], "%d %d", &s.index, &s.term); err != nil {
		return err
	}
	s.content = content
	return s.fs.RemoveAll(dir)
}

func (s *fakeState) Applied() (index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index, s.term
}

// set moves the state on to index.
func (s *fakeState) set(index uint64, content files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = index
	s.content = make(files)
	maps.Copy(s.content, content)
	s.content["meta"] = fmt.Sprintf("%d %d", s.index, s.term)
}

func (s *fakeState) made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkpoints
}

func writeFiles(fs vfs.FS, dir string, content files) error {
	for name, text := range content {
		path := fs.PathJoin(dir, name)
		if err := fs.MkdirAll(fs.PathDir(path), 0o700); err != nil {
			return err
		}
		f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte(text)); err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func readFiles(fs vfs.FS, dir string) (files, error) {
	described, err := describeFiles(fs, dir, newSums(func(string) bool { return false }))
	if err != nil {
		return nil, err
	}
	content := make(files)
	for _, d := range described {
		f, err := fs.Open(fs.PathJoin(dir, d.name))
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		content[d.name] = string(b)
	}
	return content, nil
}

type member struct {
	fs    *vfs.MemFS
	state *fakeState
	store *Store
}

// newMember starts a store that makes checkpoints synchronously, over a state
// at index.
func newMember(t *testing.T, index uint64, content files) *member {
	t.Helper()
	fs := vfs.NewCrashableMem()
	m := &member{fs: fs, state: newFakeState(fs, index, nil)}
	m.state.set(index, content)
	m.store = openStore(t, Options{Dir: "data/snap", FS: fs, State: m.state, Synchronous: true})
	return m
}

func openStore(t *testing.T, opts Options) *Store {
	t.Helper()
	if err := opts.FS.MkdirAll(opts.FS.PathDir(opts.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syncDir(opts.FS, "."); err != nil {
		t.Fatal(err)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// latest returns the newest snapshot with its archive.
func (m *member) latest(t *testing.T, minIndex uint64) (*raftpb.Snapshot, []byte) {
	t.Helper()
	snapshot, err := m.store.Latest(minIndex)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot, m.archive(t, snapshot)
}

func (m *member) archive(t *testing.T, snapshot *raftpb.Snapshot) []byte {
	t.Helper()
	r, size, err := m.store.Open(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != size {
		t.Fatalf("the archive has %d bytes, announced as %d", len(b), size)
	}
	return b
}

// dirs lists what is in the store's directory.
func (m *member) dirs(t *testing.T) []string {
	t.Helper()
	names, err := m.fs.List("data/snap")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func (m *member) wantDirs(t *testing.T, want int) {
	t.Helper()
	if got := m.dirs(t); len(got) != want {
		t.Fatalf("the store holds %v, want %d directories", got, want)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

// fetching serves ranges of an archive, of which the sender has only as much as
// there is. wrap may be nil.
func fetching(archive []byte, wrap func(io.Reader) io.Reader) Fetch {
	return func(ranges [][2]int64, _ int64) (io.Reader, error) {
		var all []io.Reader
		for _, r := range ranges {
			from := min(r[0], int64(len(archive)))
			to := min(r[0]+r[1], int64(len(archive)))
			all = append(all, bytes.NewReader(archive[from:to]))
			if to < r[0]+r[1] {
				break // nothing comes behind a gap
			}
		}
		if wrap != nil {
			return wrap(io.MultiReader(all...)), nil
		}
		return io.MultiReader(all...), nil
	}
}

func from(archive []byte) Fetch { return fetching(archive, nil) }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// contentBytes is the size of the state's files.
func (m *member) contentBytes() (n uint64) {
	for _, text := range m.state.content {
		n += uint64(len(text))
	}
	return n
}

// wantInstalled stages and installs snapshot and compares with the sender.
func (m *member) wantInstalled(t *testing.T, snapshot *raftpb.Snapshot, fetch Fetch, sender *member) {
	t.Helper()
	if err := m.store.Stage(context.Background(), snapshot, fetch); err != nil {
		t.Fatal(err)
	}
	if err := m.store.Install(snapshot); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(m.state.content, sender.state.content) {
		t.Fatalf("installed %v, sent %v", m.state.content, sender.state.content)
	}
	m.wantDirs(t, 0)
}
