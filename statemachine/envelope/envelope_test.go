package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/statemachine/envelope"
)

func pack(e envelope.Envelope) []byte {
	var commands [][]byte
	for _, c := range e.Commands {
		commands = append(commands, envelope.EncodeCommand(c))
	}
	return envelope.Pack(e, commands)
}

func sample() envelope.Envelope {
	return envelope.Envelope{
		Proposer: 0xfedcba9876543210, Boot: 3, Batch: 70_000, ClusterVersion: 3<<16 | 7<<8,
		Commands: []envelope.Command{
			{Kind: envelope.KindPut, Body: []byte("body")},
			{Kind: envelope.KindTxn, User: "root", AuthRevision: 5, Session: 6, Sequence: 7, Body: []byte{}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	number := func() uint64 { return r.Uint64() >> r.IntN(64) }
	for range 2000 {
		want := envelope.Envelope{Proposer: number(), Boot: number(), Batch: number(), ClusterVersion: uint32(number())}
		for range r.IntN(5) {
			body := make([]byte, r.IntN(300))
			for i := range body {
				body[i] = byte(r.Uint32())
			}
			want.Commands = append(want.Commands, envelope.Command{
				Kind: envelope.Kind(uint32(number())), User: fmt.Sprint(number())[:r.IntN(2)],
				AuthRevision: number(), Session: number(), Sequence: number(), Body: body,
			})
		}
		got, err := envelope.Decode(pack(want))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, want %+v", got, want)
		}
	}
}

// TestGolden pins the bytes: a difference is a format change.
func TestGolden(t *testing.T) {
	datadriven.RunTest(t, "testdata/golden.txt", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd == "frame" {
			return fmt.Sprintf("%x", envelope.EncodeFrame(envelope.Command{User: "ann", Session: 6, Sequence: 7},
				envelope.Frame{Acknowledged: 5, Writes: sampleWrites()}))
		}
		return fmt.Sprintf("%x", pack(sample()))
	})
}

func TestBodiesAlias(t *testing.T) {
	data := pack(sample())
	e, err := envelope.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	copy(data[bytes.Index(data, []byte("body")):], "BODY")
	if got := string(e.Commands[0].Body); got != "BODY" {
		t.Fatalf("body is %q: it was copied", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := pack(sample())
	other := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 2)
	for name, data := range map[string][]byte{
		"empty":         nil,
		"truncated":     good[:len(good)-1],
		"garbage":       []byte("not an envelope"),
		"other format":  other,
		"field 0":       {0x00},
		"bad command":   append(bytes.Clone(good), 0x32, 0x01, 0xff),
		"kind too wide": append(bytes.Clone(good), 0x32, 0x06, 0x08, 0xff, 0xff, 0xff, 0xff, 0x7f),
	} {
		if e, err := envelope.Decode(data); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("%s: decoded %+v, %v", name, e, err)
		}
	}
}

func TestDecodeSkipsUnknownFields(t *testing.T) {
	data := pack(sample())
	data = protowire.AppendTag(data, 100, protowire.Fixed32Type)
	data = protowire.AppendFixed32(data, 1)
	data = protowire.AppendTag(data, 101, protowire.BytesType)
	data = protowire.AppendBytes(data, []byte("future"))
	got, err := envelope.Decode(data)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
}

// TestSpecification compares the kinds of envelope.proto with the constants.
func TestSpecification(t *testing.T) {
	spec, err := os.ReadFile("envelope.proto")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("envelope.go")
	if err != nil {
		t.Fatal(err)
	}
	specified := regexp.MustCompile(`(?m)^// (\d+)  `).FindAllSubmatch(spec, -1)
	declared := regexp.MustCompile(`Kind\w+ +Kind = (\d+)`).FindAllSubmatch(source, -1)
	if len(specified) != len(declared) || len(declared) == 0 {
		t.Fatalf("%d kinds specified, %d declared", len(specified), len(declared))
	}
	for i := range declared {
		if want := strconv.Itoa(i + 1); string(specified[i][1]) != want || string(declared[i][1]) != want {
			t.Errorf("kind %s: specified as %s, declared as %s", want, specified[i][1], declared[i][1])
		}
	}
}

// FuzzDecode: no input makes Decode panic, and what it accepts survives a
// round trip.
func FuzzDecode(f *testing.F) {
	f.Add(pack(sample()))
	f.Add(pack(envelope.Envelope{}))
	f.Add([]byte("\x08\x01\x32\x03\x08\x01\x2a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := envelope.Decode(data)
		if err != nil {
			if !errors.Is(err, envelope.ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		again, err := envelope.Decode(pack(e))
		if err != nil {
			t.Fatal(err)
		}
		for i := range e.Commands {
			if e.Commands[i].Body == nil {
				e.Commands[i].Body = []byte{}
			}
		}
		if !reflect.DeepEqual(again, e) {
			t.Fatalf("decoded %+v, then %+v", e, again)
		}
	})
}
