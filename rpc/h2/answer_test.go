package h2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Another's decoder reads all header blocks of a connection, whatever table it
// wants in between.
func TestAnswersAreDecoded(t *testing.T) {
	const seed = 7
	for run := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, run))
		var a answers
		table := uint32(tableBytes)
		dec := hpack.NewDecoder(tableBytes, nil)
		for step := range 40 {
			if rng.IntN(10) == 0 {
				// The client says what it wants; the decoder learns of a change by the block.
				table = rng.Uint32N(2 * tableBytes)
				a.limitTable(table)
			}
			block, want := randomBlock(&a, rng)
			got, err := dec.DecodeFull(block)
			if err != nil {
				t.Fatalf("seed %d, run %d, step %d: %v", seed, run, step, err)
			}
			for i, f := range got {
				if i >= len(want) || f.Name+"="+f.Value != want[i] {
					t.Fatalf("seed %d, run %d, step %d: %v, want %q", seed, run, step, got, want)
				}
			}
		}
	}
}

func randomBlock(a *answers, rng *rand.Rand) (block []byte, want []string) {
	block = a.begin(nil)
	value := strings.Repeat("v", rng.IntN(300))
	md := metadata.MD{"k": {value}, "content-type": {"not ours"}}
	if rng.IntN(2) == 0 {
		block = a.header(block, "gzip", md)
		want = append(want, ":status=200", "content-type=application/grpc", "grpc-encoding=gzip", "k="+value)
	}
	switch rng.IntN(4) {
	case 0:
		return a.trailer(block, status.New(codes.NotFound, "no ☺"), nil), append(want, "grpc-status=5", "grpc-message=no %E2%98%BA")
	case 1:
		return block, want
	}
	return a.trailer(block, nil, md), append(want, "grpc-status=0", "k="+value)
}

// A client that shrinks its table is told that we do before the next field, as
// RFC 7541, section 4.2 demands, once.
func TestAnswersShrinkTheTable(t *testing.T) {
	var a answers
	a.trailer(a.header(nil, "", nil), nil, nil)
	a.limitTable(100)
	a.limitTable(tableBytes)
	first := a.begin(nil)
	if !slices.Equal(first, []byte{0x20}) {
		t.Errorf("% x", first)
	}
	if again := a.begin(nil); len(again) > 0 {
		t.Errorf("and again % x", again)
	}
}

func TestAppendString(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 254, 255, 256, 16510, 16511, 16512, 1 << 20} {
		want := strings.Repeat("x", n)
		fields, err := hpack.NewDecoder(0, nil).DecodeFull(appendField(nil, "n", want))
		if err != nil || len(fields) != 1 || fields[0].Value != want {
			t.Errorf("%d bytes: %d fields, %v", n, len(fields), err)
		}
	}
}

func TestPercentEncode(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain ~": "plain ~", "100%": "100%25", "\t\r\n": "%09%0D%0A", "a☺": "a%E2%98%BA", "\x7f\xff": "%7F%FF",
	} {
		if got := percentEncode(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestMetadataOfAnswers(t *testing.T) {
	md := metadata.MD{"grpc-status": {"0"}, "grpc-message": {"m"}, "te": {"t"}, ":status": {"500"}, "a-bin": {"\x00\xff"}}
	fields, err := hpack.NewDecoder(0, nil).DecodeFull(appendMetadata(nil, md))
	if got := fmt.Sprint(fields); err != nil || got != `[header field "a-bin" = "AP8"]` {
		t.Errorf("%v, %v", got, err)
	}
}
