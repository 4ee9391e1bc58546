package envelope_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/cockroachdb/datadriven"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
)

func samplePublish() envelope.PublishMember {
	return envelope.PublishMember{ID: math.MaxUint64, Name: "zwölf", ClientURLs: []string{"http://a:1", "http://b:2"}, Incarnation: 1 << 63}
}

func sampleRemaining() envelope.LeaseRemaining {
	return envelope.LeaseRemaining{Term: 300, Leases: []envelope.RemainingTTL{{ID: -2, Seconds: 1 << 40}, {}, {ID: 7}}}
}

func encodePublish(t testing.TB, p envelope.PublishMember) []byte {
	t.Helper()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGoldenRecords pins the bytes: a difference is a format change.
func TestGoldenRecords(t *testing.T) {
	datadriven.RunTest(t, "testdata/records.txt", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "publish":
			return fmt.Sprintf("%x", encodePublish(t, samplePublish()))
		case "close":
			return fmt.Sprintf("%x", envelope.SessionClose{Session: 7 << 16, Used: 8<<16 | 1}.Encode())
		case "revoke":
			return fmt.Sprintf("%x", envelope.LeaseRevoke{ID: -2, Term: 3}.Encode())
		case "remaining":
			return fmt.Sprintf("%x", sampleRemaining().Encode())
		case "lease-reads":
			return fmt.Sprintf("%x", envelope.LeaseReads{PromiseMS: 500}.Encode())
		}
		return "unknown command"
	})
}

func TestRecordsRoundTrip(t *testing.T) {
	for _, want := range []envelope.PublishMember{
		{}, samplePublish(), {Incarnation: 1}, {ClientURLs: []string{""}}, {Name: "n"},
	} {
		if got, err := envelope.DecodePublishMember(encodePublish(t, want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, want %+v, %v", got, want, err)
		}
	}
	for _, want := range []envelope.SessionClose{{}, {Session: math.MaxUint64, Used: 1}, {Used: math.MaxUint64}} {
		if got, err := envelope.DecodeSessionClose(want.Encode()); err != nil || got != want {
			t.Errorf("decoded %+v, want %+v, %v", got, want, err)
		}
	}
}

func TestLeaseRecordsRoundTrip(t *testing.T) {
	for _, want := range []envelope.LeaseRevoke{{}, {ID: 1}, {ID: math.MinInt64, Term: math.MaxUint64}} {
		if got, err := envelope.DecodeLeaseRevoke(want.Encode()); err != nil || got != want {
			t.Errorf("decoded %+v, want %+v, %v", got, want, err)
		}
	}
	for _, want := range []envelope.LeaseRemaining{{}, sampleRemaining()} {
		if got, err := envelope.DecodeLeaseRemaining(want.Encode()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, want %+v, %v", got, want, err)
		}
	}
	for _, want := range []envelope.LeaseReads{{}, {PromiseMS: 500}, {PromiseMS: math.MaxUint64}} {
		if got, err := envelope.DecodeLeaseReads(want.Encode()); err != nil || got != want || got.Promise() < 0 {
			t.Errorf("decoded %+v, want %+v, %v", got, want, err)
		}
	}
	// What a client sends is a revocation without a term.
	data, err := proto.Marshal(&pb.LeaseRevokeRequest{ID: -7})
	if got, decodeErr := envelope.DecodeLeaseRevoke(data); err != nil || decodeErr != nil || got != (envelope.LeaseRevoke{ID: -7}) {
		t.Errorf("decoded %+v, %v, %v", got, err, decodeErr)
	}
}

// TestTextIsUTF8: neither end lets pass what no message to a client can hold.
func TestTextIsUTF8(t *testing.T) {
	for _, p := range []envelope.PublishMember{{Name: "\xff"}, {Name: "n", ClientURLs: []string{"http://a:1", "\xff"}}} {
		if _, err := p.Encode(); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("encoding %+v: %v", p, err)
		}
	}
	for _, data := range []string{"\x12\x01\xff", "\x1a\x01\xff"} {
		if p, err := envelope.DecodePublishMember([]byte(data)); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("decoded %+v, %v", p, err)
		}
	}
}

func TestCommandsMax(t *testing.T) {
	commands := make([][]byte, envelope.CommandsMax+1)
	for i := range commands {
		commands[i] = envelope.EncodeCommand(envelope.Command{Kind: envelope.KindSessionOpen})
	}
	if e, err := envelope.Decode(envelope.Pack(envelope.Envelope{}, commands[1:])); err != nil || len(e.Commands) != envelope.CommandsMax {
		t.Fatalf("%d commands, %v", len(e.Commands), err)
	}
	if _, err := envelope.Decode(envelope.Pack(envelope.Envelope{}, commands)); !errors.Is(err, envelope.ErrMalformed) {
		t.Fatal(err)
	}
}

// FuzzDecodeRecords: no input makes a decoder panic, and what one accepts
// survives a round trip.
func FuzzDecodeRecords(f *testing.F) {
	f.Add(encodePublish(f, samplePublish()))
	f.Add(envelope.SessionClose{Session: 1, Used: 2}.Encode())
	f.Add([]byte("\x12\x01\xff"))
	f.Add(envelope.LeaseRevoke{ID: -1, Term: 2}.Encode())
	f.Add(sampleRemaining().Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := envelope.DecodePublishMember(data)
		if err == nil {
			if again, err := envelope.DecodePublishMember(encodePublish(t, p)); err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("decoded %+v, then %+v, %v", p, again, err)
			}
		} else if !errors.Is(err, envelope.ErrMalformed) {
			t.Fatal(err)
		}
		s, err := envelope.DecodeSessionClose(data)
		if err == nil {
			if again, err := envelope.DecodeSessionClose(s.Encode()); err != nil || again != s {
				t.Fatalf("decoded %+v, then %+v, %v", s, again, err)
			}
		} else if !errors.Is(err, envelope.ErrMalformed) {
			t.Fatal(err)
		}
		r, err := envelope.DecodeLeaseRevoke(data)
		if err == nil {
			if again, err := envelope.DecodeLeaseRevoke(r.Encode()); err != nil || again != r {
				t.Fatalf("decoded %+v, then %+v, %v", r, again, err)
			}
		} else if !errors.Is(err, envelope.ErrMalformed) {
			t.Fatal(err)
		}
		l, err := envelope.DecodeLeaseRemaining(data)
		if err == nil {
			if again, err := envelope.DecodeLeaseRemaining(l.Encode()); err != nil || !reflect.DeepEqual(again, l) {
				t.Fatalf("decoded %+v, then %+v, %v", l, again, err)
			}
		} else if !errors.Is(err, envelope.ErrMalformed) {
			t.Fatal(err)
		}
	})
}
