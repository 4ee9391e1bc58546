package envelope_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/cockroachdb/datadriven"

	"raftkv/statemachine/envelope"
)

func samplePublish() envelope.PublishMember {
	return envelope.PublishMember{ID: math.MaxUint64, Name: "zwölf", ClientURLs: []string{"http://a:1", "http://b:2"}, Incarnation: 1 << 63}
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
	})
}
