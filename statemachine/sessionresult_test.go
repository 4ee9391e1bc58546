package statemachine

import (
	"errors"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// FuzzDecodeSession: damage is found when the table is read, and what is taken
// survives a round trip.
func FuzzDecodeSession(f *testing.F) {
	for _, result := range []any{
		ErrCompacted, errors.New("of no code"), &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 7}},
		&pb.TxnResponse{Succeeded: true}, &pb.EmptyResponse{}, &FrameResult{Writes: []byte{10, 2, 8, 1}},
	} {
		recorded, err := recordResult(result)
		if err != nil {
			f.Fatal(err)
		}
		f.Add((&session{id: 1, sequence: 2, used: 3, results: []sessionResult{recorded}, user: "u"}).encode())
	}
	f.Add([]byte("short"))
	f.Add((&session{id: 1, used: 1}).encode())
	used := append(make([]byte, 7), 1, 0, 0, 0, 0, 0, 0, 0, 0)
	f.Add(append(used, 0, 99))
	f.Add(append(used, 0, resultRefusal))
	f.Add(append(used, 0, resultPut, 0xff))
	f.Add(append(used, 200, 200, 200))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeSession(1, data)
		if err != nil {
			if !errors.Is(err, ErrForeignState) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeSession(1, s.encode())
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("decoded %+v, then %+v, %v", s, again, err)
		}
		for _, r := range s.results {
			if _, err := r.decode(); err != nil {
				t.Fatalf("taken, but not readable: %v", err)
			}
		}
	})
}

// TestRefusalCodes: a code and a refusal name each other.
func TestRefusalCodes(t *testing.T) {
	for i, known := range refusalCodes() {
		if known.code != byte(i+1) {
			t.Errorf("%v has code %d at place %d", known.err, known.code, i+1)
		}
		recorded, err := recordResult(known.err)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := recorded.decode(); err != nil || again != any(known.err) {
			t.Errorf("%v came back as %v, %v", known.err, again, err)
		}
	}
}
