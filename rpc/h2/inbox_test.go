package h2

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func newInbox(bytesMax int) *inbox {
	return &inbox{buffers: &bufferPool{}, bytesMax: bytesMax, declared: -1}
}

func frameOf(flag byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(body))), body...)
}

// drain takes all messages, each as its flag and its body.
func drain(in *inbox) (got []string, err error) {
	for {
		m, err := in.take()
		if err != nil {
			return got, err
		}
		flag := "0"
		if m.compressed {
			flag = "1"
		}
		got = append(got, flag+string(*m.body))
	}
}

// Messages come out the same, wherever what comes is cut in three.
func TestInboxCutAnywhere(t *testing.T) {
	var all []byte
	want := []string{"0", "1hello", "0", "0x", "1", "0another one"}
	for _, w := range want {
		all = append(all, frameOf(w[0]-'0', []byte(w[1:]))...)
	}
	for i := range len(all) + 1 {
		for j := i; j <= len(all); j++ {
			in := newInbox(100)
			in.feed(all[:i])
			in.feed(all[i:j])
			in.feed(all[j:])
			got, err := drain(in)
			if err != io.EOF || !equal(got, want) {
				t.Fatalf("cut at %d and %d: %q, %v", i, j, got, err)
			}
		}
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A message that is cut off by the end is a fault, however little is missing.
func TestInboxEndsEarly(t *testing.T) {
	all := frameOf(0, []byte("hello"))
	for n := 1; n < len(all); n++ {
		in := newInbox(100)
		in.feed(all[:n])
		in.ended = true
		if _, err := in.take(); status.Code(err) != codes.Internal {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// What came before a fault is heard, what comes behind is not.
func TestInboxFaults(t *testing.T) {
	for code, faulty := range map[codes.Code][]byte{
		codes.Internal:          {2, 0, 0, 0, 0},
		codes.ResourceExhausted: {0, 0xff, 0xff, 0xff, 0xff},
	} {
		in := newInbox(5)
		in.feed(bytes.Join([][]byte{frameOf(0, []byte("12345")), faulty, frameOf(0, []byte("no"))}, nil))
		in.feed(frameOf(0, []byte("no")))
		got, err := drain(in)
		if !equal(got, []string{"012345"}) || status.Code(err) != code {
			t.Errorf("%q, %v, want %v", got, err, code)
		}
	}
}

// No more is allocated than came, beyond trustBytes.
func TestInboxTrustsLittle(t *testing.T) {
	in := newInbox(1 << 30)
	in.feed([]byte{0, 0x3f, 0, 0, 0, 1})
	if n := cap(*in.partial.body); n > 2*trustBytes {
		t.Errorf("%d bytes for one that came", n)
	}
}
