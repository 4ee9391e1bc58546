package h2

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"golang.org/x/net/http2"
)

// What we write is read by another's framer.
func TestFramesAreWhatOthersRead(t *testing.T) {
	var b []byte
	b = appendSettings(b, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}, http2.Setting{ID: http2.SettingEnablePush})
	b = appendReset(b, 5, http2.ErrCodeCancel)
	b = appendWindowUpdate(b, 7, windowBytesLimit)
	b = appendPing(b, false, drainPing)
	b = appendPing(b, true, drainPing)
	b = appendGoAway(b, 9, http2.ErrCodeProtocol, "why")
	b = append(appendFrameHeader(b, 3, http2.FrameData, http2.FlagDataEndStream, windowBytesLimit), "abc"...)
	fr := http2.NewFramer(nil, bytes.NewReader(b))
	want := []string{
		"SETTINGS", "RST_STREAM 5 CANCEL", "WINDOW_UPDATE 7 2147483647", "PING drain\x00\x00\x00", "PING ack drain\x00\x00\x00",
		"GOAWAY 9 PROTOCOL_ERROR why", "DATA 2147483647 end 3",
	}
	for _, w := range want {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(f); got != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
}

// However a connection cuts frames, they come out whole.
func TestFrameReader(t *testing.T) {
	var sent bytes.Buffer
	fr := http2.NewFramer(&sent, nil)
	sizes := []int{0, 1, 9, 4087, 4096, frameBytesMax, 0, frameBytesMax, frameBytesMax, 100, frameBytesMax}
	for i, n := range sizes {
		if err := fr.WriteData(uint32(i+1), i%2 == 0, bytes.Repeat([]byte{byte(i)}, n)); err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func(io.Reader) io.Reader{
		"as it comes": func(r io.Reader) io.Reader { return r }, "by the byte": iotest.OneByteReader,
		"by halves": iotest.HalfReader, "with the error": iotest.DataErrReader,
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			in := frameReader{r: way(bytes.NewReader(sent.Bytes())), arrived: func() {}}
			for i, n := range sizes {
				f, err := in.next()
				if err != nil {
					t.Fatal(err)
				}
				want := frame{kind: http2.FrameData, stream: uint32(i + 1), payload: bytes.Repeat([]byte{byte(i)}, n)}
				if i%2 == 0 {
					want.flags = http2.FlagDataEndStream
				}
				if f.payload = append([]byte{}, f.payload...); !reflect.DeepEqual(f, want) {
					t.Fatalf("frame %d is another", i)
				}
			}
			if _, err := in.next(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if len(in.buf) > readBytesMax {
				t.Errorf("the buffer has grown to %d bytes", len(in.buf))
			}
		})
	}
}

func TestUnpad(t *testing.T) {
	const padded, priority = http2.FlagDataPadded, http2.FlagHeadersPriority
	for _, c := range []struct {
		kind    http2.FrameType
		flags   http2.Flags
		payload string
		want    string
		fails   bool
	}{
		{http2.FrameData, 0, "abc", "abc", false},
		{http2.FrameData, padded, "\x02abc\x00\x00", "abc", false},
		{http2.FrameData, padded, "\x02\x00\x00", "", false},
		{http2.FrameData, padded, "\x03\x00\x00", "", true},
		{http2.FrameData, padded, "", "", true},
		{http2.FrameData, priority, "abc", "abc", false}, // a flag that DATA does not know
		{http2.FrameHeaders, priority, "\x00\x00\x00\x03\x10abc", "abc", false},
		{http2.FrameHeaders, padded | priority, "\x01\x80\x00\x00\x03\x10abc\x00", "abc", false},
		{http2.FrameHeaders, padded | priority, "\x01\x80\x00\x00\x01\x10abc\x00", "", true}, // on itself
		{http2.FrameHeaders, padded | priority, "\x04\x80\x00\x00\x03\x10abc", "", true},
		{http2.FrameHeaders, priority, "\x80\x00\x00\x03", "", true},
	} {
		got, err := unpad(frame{kind: c.kind, flags: c.flags, stream: 1, payload: []byte(c.payload)})
		if string(got) != c.want || (err != nil) != c.fails {
			t.Errorf("%v %x %q: %q, %v", c.kind, c.flags, c.payload, got, err)
		}
	}
}
