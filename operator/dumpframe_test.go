package operator

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
)

// TestTranslateFrame: each write of a frame is shown by itself, in its place.
func TestTranslateFrame(t *testing.T) {
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("t")}}}}}
	body, err := proto.Marshal(txn)
	if err != nil {
		t.Fatal(err)
	}
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 3}
	plain := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	cas := func(c *pb.Compare) *pb.InternalRaftRequest {
		c.Key, c.Result = []byte("k"), pb.Compare_EQUAL
		return &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Compare: []*pb.Compare{c},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}}}
	}
	key, value := []byte("k"), []byte("v")
	cases := []struct {
		write envelope.Write
		want  *pb.InternalRaftRequest
	}{
		{envelope.Write{Op: envelope.WritePut, Key: key, Value: value, Lease: 3}, &pb.InternalRaftRequest{Put: put}},
		{envelope.Write{Op: envelope.WriteAppend, Key: key, Value: value}, &pb.InternalRaftRequest{Put: plain}},
		{envelope.Write{Op: envelope.WriteDelete, Key: key, RangeEnd: value},
			&pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: value}}},
		{envelope.Write{Op: envelope.WriteCompareAndSwap, Key: key, Value: value, Lease: 3, ExpectedRevision: 5},
			cas(&pb.Compare{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 5}})},
		{envelope.Write{Op: envelope.WriteCompareAndSwap, Key: key, Value: value, Lease: 3, ByValue: true, Expected: value},
			cas(&pb.Compare{Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: value}})},
		{envelope.Write{Op: envelope.WriteIncrement, Key: key, Delta: 1}, nil},
		{envelope.Write{Op: envelope.WriteTxn, Txn: body}, &pb.InternalRaftRequest{Txn: txn}},
		{envelope.Write{Op: envelope.WriteRefused, Refusal: 19}, nil},
	}
	var writes []byte
	for i := range cases {
		writes = envelope.AppendWrite(writes, &cases[i].write)
	}
	e, err := envelope.Decode(envelope.Pack(envelope.Envelope{}, [][]byte{
		envelope.EncodeFrame(envelope.Command{User: "ann", AuthRevision: 2}, envelope.Frame{Writes: writes})}))
	if err != nil {
		t.Fatal(err)
	}
	got := translate(&e.Commands[0])
	if len(got) != len(cases) {
		t.Fatalf("%d requests for %d writes", len(got), len(cases))
	}
	for i, c := range cases {
		if c.want != nil {
			c.want.Header = &pb.RequestHeader{Username: "ann", AuthRevision: 2}
		}
		if !proto.Equal(got[i], c.want) {
			t.Errorf("%+v: %v, want %v", c.write, got[i], c.want)
		}
	}
}
