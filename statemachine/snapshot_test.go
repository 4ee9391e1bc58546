package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
)

// openAt opens a machine in a directory of its own on a shared file system.
func openAt(t testing.TB, fs vfs.FS, dir string) *statemachine.Machine {
	t.Helper()
	o := options(t, fs)
	o.Dir = dir
	m, err := statemachine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCheckpointAndReplace(t *testing.T) {
	const seedValue = 4
	t.Logf("seed %d", seedValue)
	fs := vfs.NewMem()
	leader := openAt(t, fs, "leader")
	defer closeMachine(t, leader)
	if err := leader.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	log := randomLog(t, rand.New(rand.NewPCG(seedValue, 0)), 800)
	for _, e := range log[:400] {
		apply(t, leader, e)
	}
	want, err := leader.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := leader.Checkpoint("staging/snap")
	if err != nil {
		t.Fatal(err)
	}
	if index, term := leader.Applied(); metadata.GetIndex() != index || metadata.GetTerm() != term {
		t.Fatalf("checkpoint %v at applied index %d", metadata, index)
	}
	names, err := fs.List("staging/snap")
	if err != nil || strings.Contains(fmt.Sprint(names), "LOCK") {
		t.Fatalf("checkpoint holds %v, %v", names, err)
	}

	// A member that knows nothing yet, and one that fell behind.
	follower := openAt(t, fs, "follower")
	if err := follower.Replace("staging/snap"); err != nil {
		t.Fatal(err)
	}
	if got, err := follower.StateHash(); err != nil || got != want {
		t.Fatalf("state hash %x, want %x, %v", got, want, err)
	}
	durable, err := follower.Durable()
	if err != nil || durable.GetIndex() != metadata.GetIndex() {
		t.Fatalf("durable %v, %v", durable, err)
	}
	for _, e := range log[400:600] {
		apply(t, leader, e)
	}
	if _, err := leader.Checkpoint("staging/snap2"); err != nil {
		t.Fatal(err)
	}
	if err := follower.Replace("staging/snap2"); err != nil {
		t.Fatal(err)
	}
	for _, e := range log[600:] {
		apply(t, leader, e)
		apply(t, follower, e)
	}
	if want, err = leader.StateHash(); err != nil {
		t.Fatal(err)
	}
	compareStates(t, follower, leader, want)
	closeMachine(t, follower)
	follower = openAt(t, fs, "follower")
	defer closeMachine(t, follower)
	compareStates(t, follower, leader, want)
	if names, err := fs.List("follower"); err != nil || len(names) != 3 {
		t.Errorf("follower's directory holds %v, %v", names, err)
	}
}

func TestReplaceRefuses(t *testing.T) {
	fs := vfs.NewMem()
	m := openAt(t, fs, "m")
	defer closeMachine(t, m)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	l := newLog(t)
	if _, err := m.Checkpoint("old"); err != nil {
		t.Fatal(err)
	}
	apply(t, m, l.entry(request(t, &pb.PutRequest{Key: []byte("a")})))
	before, err := m.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	foreign := openAt(t, fs, "foreign")
	defer closeMachine(t, foreign)
	if _, err := foreign.Checkpoint("empty"); !errors.Is(err, statemachine.ErrNotInitialized) {
		t.Errorf("checkpoint of an empty state: %v", err)
	}
	otherCluster := seed()
	otherCluster.ClusterID++
	otherCluster.Index = 100
	if err := foreign.Bootstrap(otherCluster); err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Checkpoint("other"); err != nil {
		t.Fatal(err)
	}
	if err := fs.MkdirAll("nothing", 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]error{
		"old": statemachine.ErrForeignState, "other": statemachine.ErrForeignState,
		"nothing": statemachine.ErrDirectory, "missing": nil,
	} {
		if err := m.Replace(dir); err == nil || (want != nil && !errors.Is(err, want)) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	// The state is what it was, and works.
	if after, err := m.StateHash(); err != nil || after != before {
		t.Errorf("state hash %x, was %x, %v", after, before, err)
	}
	apply(t, m, l.entry(request(t, &pb.PutRequest{Key: []byte("b")})))
	if m.Revision() != 3 {
		t.Errorf("revision %d", m.Revision())
	}
}

// TestConcurrentUse reads, flushes and takes checkpoints beside Apply and
// Replace; every read sees one revision as a whole: both keys of a transaction
// have the value that the revision gave them.
func TestConcurrentUse(t *testing.T) {
	fs := vfs.NewMem()
	leader, follower := openAt(t, fs, "leader"), openAt(t, fs, "follower")
	defer closeMachine(t, leader)
	defer closeMachine(t, follower)
	for _, m := range []*statemachine.Machine{leader, follower} {
		if err := m.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
	}
	var done atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !done.Load() {
				readPair(t, follower)
				reads.Add(1)
			}
		})
	}
	wg.Go(func() {
		for !done.Load() {
			durable, err := follower.Durable()
			if err == nil {
				err = follower.Flush()
			}
			if err != nil {
				t.Error(err)
				return
			}
			if index, _ := follower.Applied(); durable.GetIndex() > index {
				t.Errorf("durable %d, applied %d", durable.GetIndex(), index)
			}
		}
	})
	l := newLog(t)
	for round := range 15 {
		for range 20 {
			e := pairEntry(t, l)
			apply(t, leader, e)
			if round%3 != 1 { // then the follower falls behind
				apply(t, follower, e)
			}
		}
		if round%3 == 1 {
			replaceFrom(t, leader, follower, fmt.Sprintf("snap%d", round))
		}
	}
	for reads.Load() < 100 {
		readPair(t, follower)
		reads.Add(1)
	}
	done.Store(true)
	wg.Wait()
	want, err := leader.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	compareStates(t, follower, leader, want)
}

func replaceFrom(t *testing.T, leader, follower *statemachine.Machine, dir string) {
	t.Helper()
	if _, err := leader.Checkpoint(dir); err != nil {
		t.Fatal(err)
	}
	if err := follower.Replace(dir); err != nil {
		t.Fatal(err)
	}
}

func pairEntry(t *testing.T, l *logWriter) *raftpb.Entry {
	value := fmt.Append(nil, l.index)
	put := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}
	}
	return l.entry(request(t, &pb.TxnRequest{Success: []*pb.RequestOp{put("pair1"), put("pair2")}}))
}

func readPair(t *testing.T, m *statemachine.Machine) {
	resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte("pair"), RangeEnd: []byte("pais")})
	switch {
	case err != nil:
		t.Error(err)
	case resp.Count == 0 && resp.Header.Revision == 1:
	case resp.Count != 2 || string(resp.Kvs[0].Value) != string(resp.Kvs[1].Value) || resp.Kvs[0].ModRevision != resp.Header.Revision:
		t.Errorf("read %v", resp)
	}
}
