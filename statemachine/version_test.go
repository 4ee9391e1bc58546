package statemachine_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
	"raftkv/statemachine/engine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

func setVersion(t testing.TB, version string) []byte {
	return command(t, envelope.KindClusterVersion, &membershippb.ClusterVersionSetRequest{Ver: version})
}

// TestClusterVersion: it only rises, and is one that an envelope can carry.
func TestClusterVersion(t *testing.T) {
	m, l := start(t), newLog(t)
	if got := m.ClusterVersion(); got != 0 || got.String() != "none" {
		t.Fatalf("version %d (%s) at the start", got, got)
	}
	for _, step := range []struct {
		version, after string
		want           error
	}{
		{"0.0.2", "0.0.2", nil},
		{"0.0.1", "0.0.2", statemachine.ErrClusterVersionLowers},
		{"nonsense", "0.0.2", statemachine.ErrClusterVersion},
		{"0.0.0", "0.0.2", statemachine.ErrClusterVersion},
		{"0.0.256", "0.0.2", statemachine.ErrClusterVersion},
		{"0.0.3-rc.1", "0.0.2", statemachine.ErrClusterVersion},
		{"0.1.0", "0.1.0", nil},
		{"0.1.0", "0.1.0", nil},
	} {
		result := apply(t, m, l.entry(setVersion(t, step.version)))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) || m.ClusterVersion().String() != step.after {
			t.Errorf("%s: result %v, version %s", step.version, result, m.ClusterVersion())
		}
	}
	if m.ClusterVersion() != 0<<16|1<<8 {
		t.Errorf("version %s", m.ClusterVersion())
	}
}

// TestGate: the cluster version keeps new kinds out until it is high enough,
// from one command to the next.
func TestGate(t *testing.T) {
	m, l := start(t), newLog(t)
	results := apply(t, m,
		l.entry(openSession()),
		l.entry(setVersion(t, "0.0.9"), openSession(), closeSession(1, 0), setVersion(t, "0.1.0"), openSession()))
	for _, i := range []int{0, 2, 3} {
		if err, _ := results[i].(error); !errors.Is(err, statemachine.ErrNotYet) {
			t.Errorf("command %d: %v", i, results[i])
		}
	}
	if _, ok := results[5].(*statemachine.SessionOpened); !ok {
		t.Errorf("after the version was raised: %v", results[5])
	}
}

// TestNewerClusterIsFatal: an entry of a cluster that has left this binary
// behind is not applied, nor is anything else of its call.
func TestNewerClusterIsFatal(t *testing.T) {
	newer := func(l *logWriter, version uint32) []byte {
		l.batch++
		return envelope.Pack(envelope.Envelope{Proposer: proposer, Boot: 1, Batch: l.batch, ClusterVersion: version},
			[][]byte{request(l.t, &pb.PutRequest{Key: []byte("a")})})
	}
	for name, entry := range map[string]func(*logWriter) *raftpb.Entry{
		"envelope":     func(l *logWriter) *raftpb.Entry { return l.raw(newer(l, uint32(statemachine.NewestVersion)+1)) },
		"far envelope": func(l *logWriter) *raftpb.Entry { return l.raw(newer(l, math.MaxUint32)) },
		"setting it":   func(l *logWriter) *raftpb.Entry { return l.entry(setVersion(l.t, "0.2.1")) },
	} {
		m, l := start(t), newLog(t)
		if results := apply(t, m, l.raw(newer(l, uint32(statemachine.NewestVersion)))); len(results) != 1 {
			t.Fatal("the newest version known was refused")
		}
		_, err := m.Apply([]*raftpb.Entry{l.entry(setVersion(t, "0.1.0")), entry(l)}, nil)
		if !errors.Is(err, statemachine.ErrNewerCluster) || !strings.Contains(err.Error(), "0.2.0 at most; start this member with a newer binary") {
			t.Errorf("%s: %v", name, err)
		}
		if index, _ := m.Applied(); index != 2 || m.ClusterVersion() != 0 {
			t.Errorf("%s: part of the call took effect", name)
		}
	}
}

// TestNewerStateIsRefused: an older binary does not open what a newer one left.
func TestNewerStateIsRefused(t *testing.T) {
	for _, version := range []string{"0.3.0", "damaged"} {
		fs := vfs.NewMem()
		m := open(t, fs)
		if err := m.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
		closeMachine(t, m)
		s, err := engine.Open(engine.Options{Dir: "state", FS: fs, OnFatal: func(err error) { t.Error(err) }},
			func(*pebble.DB) (bool, error) { return true, nil })
		if err != nil {
			t.Fatal(err)
		}
		batch, err := s.NewBatch()
		if err == nil {
			err = errors.Join(batch.Set(keys.Named(keys.Meta, "cluster-version"), []byte(version)), batch.Commit(), s.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]error{"0.3.0": statemachine.ErrNewerCluster, "damaged": statemachine.ErrForeignState}[version]
		if _, err := statemachine.Open(options(t, fs)); !errors.Is(err, want) {
			t.Errorf("%s: %v", version, err)
		}
	}
}
