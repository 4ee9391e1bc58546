package statemachine

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzDecodePut: the decoder of the hot path reads what protobuf's own reads,
// whatever the message held before, and refuses what that refuses.
func FuzzDecodePut(f *testing.F) {
	full := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: -5, PrevKv: true, IgnoreValue: true, IgnoreLease: true}
	data, err := proto.Marshal(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add(data[:len(data)-1])
	f.Add([]byte("\x08\x01\x12\x00"))                                                     // key as a varint
	f.Add(protowire.AppendBytes(protowire.AppendTag(data, 9, protowire.BytesType), data)) // an unknown field
	f.Fuzz(func(t *testing.T, data []byte) {
		want := &pb.PutRequest{}
		wantErr := proto.Unmarshal(data, want)
		got := proto.CloneOf(full)
		gotErr := decodePut(data, got)
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%x: error %v, protobuf's %v", data, gotErr, wantErr)
		}
		if gotErr == nil && !proto.Equal(got, want) {
			t.Fatalf("%x: decoded %v, want %v", data, got, want)
		}
	})
}

func FuzzDecodeMember(f *testing.F) {
	m := Member{ID: 1, Name: "one", PeerURLs: []string{"a", "b"}, ClientURLs: []string{"c"}, IsLearner: true}
	f.Add(m.encode())
	f.Add([]byte{0x0a})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMember(1, data)
		if err != nil {
			return
		}
		again, err := decodeMember(1, m.encode())
		if err != nil || !proto.Equal(again.toProto(), m.toProto()) && again.Name == m.Name {
			t.Fatalf("decoded %+v, then %+v, %v", m, again, err)
		}
	})
}

// TestProposerShift compares the window with a plain set.
func TestProposerShift(t *testing.T) {
	for _, step := range []uint64{1, 63, 64, 65, 127, 128, 1000, 1023, 1024, 5000} {
		p := &proposer{}
		applied := make(map[uint64]bool)
		for batch := uint64(1); batch < 3*step; batch += 1 + batch%7 {
			applied[batch] = p.admit(1, batch)
		}
		newest := p.newest + step
		applied[newest] = p.admit(1, newest)
		q, err := decodeProposer(1, p.encode())
		if err != nil || *q != *p {
			t.Fatalf("decoded %+v, %v", q, err)
		}
		for batch := uint64(1); batch <= newest; batch++ {
			want := !applied[batch] && newest-batch < proposerWindow
			if got := q.admit(1, batch); got != want {
				t.Fatalf("step %d: batch %d of %d admitted %t, want %t", step, batch, newest, got, want)
			}
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	if _, err := decodeProposer(1, make([]byte, 3)); err == nil {
		t.Error("short proposer record taken")
	}
	if _, err := decodeProgress(make([]byte, 41)); err == nil {
		t.Error("long progress record taken")
	}
	newer := encodeFormat(7)
	newer[7]++
	if _, err := decodeFormat(newer); err == nil {
		t.Error("newer state format taken")
	}
	if id, err := decodeFormat(encodeFormat(7)); err != nil || id != 7 {
		t.Errorf("format record: %d, %v", id, err)
	}
}
