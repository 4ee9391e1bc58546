package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"raftkv/server/identity"
	"raftkv/snap"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oldCluster = 0xc1
	oldMember  = 0xa1
)

func openMachine(t testing.TB, dir string) *statemachine.Machine {
	t.Helper()
	m, err := statemachine.Open(statemachine.Options{Dir: dir, OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// seed is the first state of a cluster of three.
func seed() statemachine.Seed {
	s := statemachine.Seed{ClusterID: oldCluster, Index: 1, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{oldMember, 0xa2, 0xa3}}}
	for i, id := range s.ConfState.GetVoters() {
		s.Members = append(s.Members, statemachine.Member{ID: id, Name: fmt.Sprint(i + 1), PeerURLs: []string{fmt.Sprintf("http://old:%d", i)}})
	}
	return s
}

// command is an entry with one command in it.
func command(t testing.TB, index, term uint64, kind envelope.Kind, req proto.Message) *raftpb.Entry {
	t.Helper()
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	data := envelope.Pack(envelope.Envelope{Proposer: oldMember, Boot: 1, Batch: index},
		[][]byte{envelope.EncodeCommand(envelope.Command{Kind: kind, Body: body})})
	return &raftpb.Entry{Index: new(index), Term: new(term), Data: data}
}

func put(t testing.TB, index uint64, key, value string) *raftpb.Entry {
	t.Helper()
	return command(t, index, 2, envelope.KindPut, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

// someEntries write 20 keys, delete one and raise an alarm, from index 2 on.
func someEntries(t testing.TB) (entries []*raftpb.Entry) {
	t.Helper()
	next := uint64(2)
	for i := range 20 {
		entries = append(entries, put(t, next, fmt.Sprintf("key-%02d", i), fmt.Sprintf("value %d", i)))
		next++
	}
	entries = append(entries, command(t, next, 2, envelope.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("key-07")}))
	return append(entries, command(t, next+1, 2, envelope.KindAlarm,
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: oldMember, Alarm: pb.AlarmType_NOSPACE}))
}

func apply(t testing.TB, m *statemachine.Machine, entries []*raftpb.Entry) {
	t.Helper()
	if _, err := m.Apply(entries, func(uint64, uint64, uint64, uint64, []any) {}); err != nil {
		t.Fatal(err)
	}
}

// sampleFile returns a snapshot file, and what the state said of itself.
func sampleFile(t testing.TB) (path string, s statemachine.Summary) {
	t.Helper()
	dir := t.TempDir()
	m := openMachine(t, filepath.Join(dir, "state"))
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	apply(t, m, someEntries(t))
	store, err := snap.New(snap.Options{Dir: filepath.Join(dir, "snap"), FS: vfs.Default, State: m})
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Save(context.Background(), func(dir string) (snap.SavedHeader, error) {
		if _, err := m.Checkpoint(dir); err != nil {
			return snap.SavedHeader{}, err
		}
		s, err = m.Describe(dir)
		return snap.SavedHeader{ClusterID: s.ClusterID, MemberID: oldMember, Index: s.Index, Term: s.Term, Revision: s.Revision,
			CompactedRevision: s.CompactedRevision, RollingHash: s.RollingHash, Version: "test"}, err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "file.snap")
	err = SaveFile(context.Background(), path, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
	if err := errors.Join(err, r.Close(), store.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	return path, s
}

// threeNodes are targets of one new cluster.
func threeNodes(t testing.TB) (targets []Target) {
	t.Helper()
	var cluster []Peer
	for i := range 3 {
		cluster = append(cluster, Peer{Name: fmt.Sprint(i + 1), PeerURLs: []string{fmt.Sprintf("http://new:%d", i)}})
	}
	root := t.TempDir()
	for i := range cluster {
		targets = append(targets, Target{DataDir: filepath.Join(root, fmt.Sprint(i+1)), Name: cluster[i].Name, Cluster: cluster, Token: "t"})
	}
	return targets
}

// check opens everything in a data directory as a member would, and returns its
// identity, what the state says, and its hash.
func check(t testing.TB, dataDir string) (identity.Identity, statemachine.Summary, uint64) {
	t.Helper()
	id, found, err := identity.Peek(dataDir)
	if err != nil || !found {
		t.Fatalf("identity: %v, %v", found, err)
	}
	d, err := identity.Open(dataDir, id)
	if err != nil {
		t.Fatal(err)
	}
	m := openMachine(t, d.State())
	meta, err := m.Durable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Options{Dir: d.WAL(), Metadata: wal.Metadata{ClusterID: id.ClusterID, MemberID: id.MemberID}}, meta)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := m.StateHash()
	if err := errors.Join(err, log.Close(), m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return id, m.Summarize(), hash
}

func exists(t testing.TB, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

func writes(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// copyDir copies a directory. The zeros that a log is preallocated with become
// holes.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name = filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(name, bytes.TrimRight(b, "\x00"), 0o600), os.Truncate(name, int64(len(b))))
	})
	if err != nil {
		t.Fatal(err)
	}
}
