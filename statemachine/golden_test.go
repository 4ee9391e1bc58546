package statemachine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
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

// TestGoldenState pins every record on disk after one command of each kind: a
// difference is a format change and needs a new StateFormat.
func TestGoldenState(t *testing.T) {
	fs := vfs.NewMem()
	m := open(t, fs)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	l := newLog(t)
	put := func(key, value string) *pb.PutRequest {
		return &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
	}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: put("a", "2")}},
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("b")}}},
	}}
	apply(t, m,
		l.entry(request(t, put("a", "1")), request(t, put("b", ""))),
		l.entry(request(t, txn), request(t, &pb.CompactionRequest{Revision: 2})),
		l.entry(publish(t, envelope.PublishMember{ID: 1, Name: "one", ClientURLs: []string{"http://a:2"}, Incarnation: 0x1ca})),
		l.entry(command(t, envelope.KindClusterVersion, &membershippb.ClusterVersionSetRequest{Ver: "0.1.0"})),
		l.change(raftpb.ConfChangeAddLearnerNode, &pb.Member{ID: 4, PeerURLs: []string{"http://d:1"}}))
	apply(t, m, l.change(raftpb.ConfChangeRemoveNode, &pb.Member{ID: 2}))
	apply(t, m, sessionEntry(l))
	framed := apply(t, m, l.entry(envelope.EncodeCommand(envelope.Command{Kind: envelope.KindSessionOpen, User: "ann"}), openSession()))
	pipelined := framed[1].(*statemachine.SessionOpened).ID
	apply(t, m, l.entry(frameOf(pipelined, 1, 0, envelope.Write{Op: envelope.WriteIncrement, Key: []byte("n"), Delta: 3})),
		l.entry(frameOf(pipelined, 2, 0, envelope.Write{Op: envelope.WritePut, Key: []byte("e")}, envelope.Write{Op: envelope.WriteRefused, Refusal: 19})),
		l.entry(frameOf(pipelined, 3, 0)))
	apply(t, m, l.entry(request(t, &pb.LeaseGrantRequest{ID: 0x1ea5e, TTL: 300}), request(t, &pb.LeaseGrantRequest{ID: -1, TTL: 1}),
		request(t, &pb.PutRequest{Key: []byte("c"), Lease: 0x1ea5e}), request(t, &pb.PutRequest{Key: []byte("d"), Lease: -1}),
		envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseRemaining,
			Body: envelope.LeaseRemaining{Leases: []envelope.RemainingTTL{{ID: 0x1ea5e, Seconds: 100}}}.Encode()})))
	apply(t, m, l.entry(command(t, envelope.KindAlarm, activate(1, pb.AlarmType_CORRUPT)),
		command(t, envelope.KindOwnAlarm, activate(1, pb.AlarmType_NOSPACE))))
	sweep(t, m, 100)
	closeMachine(t, m)
	datadriven.RunTest(t, "testdata/golden_state.txt", func(t *testing.T, d *datadriven.TestData) string {
		return dump(t, fs)
	})
}

// dump lists all records of a closed machine's database.
func dump(t *testing.T, fs vfs.FS) string {
	s, err := engine.Open(engine.Options{Dir: "state", FS: fs, OnFatal: func(err error) { t.Error(err) }},
		func(*pebble.DB) (bool, error) { return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, table := range keys.All() {
		lower, upper := keys.Bounds(table)
		it, err := s.Current().DB().NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			t.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			fmt.Fprintf(&out, "%q = %x\n", it.Key(), it.Value())
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
