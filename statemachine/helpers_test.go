package statemachine_test

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/node"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

var _ node.StateMachine = (*statemachine.Machine)(nil)

const (
	clusterID = 0xc1
	proposer  = 1
)

// seed is a cluster of the three voters 1, 2 and 3, at index 1 of term 1.
func seed() statemachine.Seed {
	s := statemachine.Seed{ClusterID: clusterID, Index: 1, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}
	for id, url := range map[uint64]string{1: "http://a:1", 2: "http://b:1", 3: "http://c:1"} {
		s.Members = append(s.Members, statemachine.Member{ID: id, PeerURLs: []string{url}})
	}
	return s
}

// options are those of a deterministic machine in memory.
func options(t testing.TB, fs vfs.FS) statemachine.Options {
	return statemachine.Options{
		Dir: "state", FS: fs, ManualCompaction: true, MemTableBytes: 4 << 20,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

func open(t testing.TB, fs vfs.FS) *statemachine.Machine {
	t.Helper()
	m, err := statemachine.Open(options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start opens a machine in fresh memory and bootstraps it.
func start(t testing.TB) *statemachine.Machine {
	t.Helper()
	m := open(t, vfs.NewMem())
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeMachine(t, m) })
	return m
}

func closeMachine(t testing.TB, m *statemachine.Machine) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// logWriter makes consecutive log entries.
type logWriter struct {
	t     testing.TB
	index uint64
	batch uint64
}

func newLog(t testing.TB) *logWriter { return &logWriter{t: t, index: 1} }

func command(t testing.TB, kind envelope.Kind, body proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.EncodeCommand(envelope.Command{Kind: kind, Body: data})
}

// request wraps an etcd request as a command.
func request(t testing.TB, req proto.Message) []byte {
	t.Helper()
	switch req.(type) {
	case *pb.PutRequest:
		return command(t, envelope.KindPut, req)
	case *pb.DeleteRangeRequest:
		return command(t, envelope.KindDeleteRange, req)
	case *pb.TxnRequest:
		return command(t, envelope.KindTxn, req)
	case *pb.CompactionRequest:
		return command(t, envelope.KindCompaction, req)
	case *pb.LeaseGrantRequest:
		return command(t, envelope.KindLeaseGrant, req)
	case *pb.LeaseRevokeRequest:
		return command(t, envelope.KindLeaseRevoke, req)
	}
	t.Fatalf("no command for %T", req)
	return nil
}

func (l *logWriter) raw(data []byte) *raftpb.Entry {
	l.index++
	return &raftpb.Entry{Index: new(l.index), Term: new(uint64(2)), Data: data}
}

// entry packs commands into the next entry.
func (l *logWriter) entry(commands ...[]byte) *raftpb.Entry {
	l.batch++
	return l.raw(envelope.Pack(envelope.Envelope{Proposer: proposer, Boot: 1, Batch: l.batch}, commands))
}

// change makes the entry of a configuration change.
func (l *logWriter) change(typ raftpb.ConfChangeType, member *pb.Member) *raftpb.Entry {
	l.batch++
	context := envelope.Pack(envelope.Envelope{Proposer: proposer, Boot: 1, Batch: l.batch},
		[][]byte{command(l.t, envelope.KindMemberChange, member)})
	cc := &raftpb.ConfChangeV2{Context: context,
		Changes: []*raftpb.ConfChangeSingle{{Type: &typ, NodeId: new(member.ID)}}}
	data, err := proto.Marshal(cc)
	if err != nil {
		l.t.Fatal(err)
	}
	e := l.raw(data)
	e.Type = raftpb.EntryConfChangeV2.Enum()
	return e
}

// apply applies entries in one call and returns all results in order.
func apply(t testing.TB, m *statemachine.Machine, entries ...*raftpb.Entry) []any {
	t.Helper()
	var all []any
	if _, err := m.Apply(entries, func(_, _, _, _ uint64, results []any) { all = append(all, results...) }); err != nil {
		t.Fatal(err)
	}
	return all
}
