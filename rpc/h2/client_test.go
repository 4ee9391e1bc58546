package h2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// client sends whatever frames a test wants, in a bubble of synctest.
type client struct {
	t     testing.TB
	net   net.Conn
	fr    *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder

	mu    sync.Mutex
	lines []string // what the server said, a line for each frame
	last  string   // of them, but for the end
	ended chan struct{}
}

// connect begins a connection without a word.
func connect(t *testing.T, l *bufconn.Listener) *client {
	t.Helper()
	raw, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, net: raw, fr: http2.NewFramer(raw, raw), ended: make(chan struct{})}
	c.fr.AllowIllegalWrites = true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(tableBytes, nil)
	c.enc = hpack.NewEncoder(&c.block)
	t.Cleanup(func() { _ = raw.Close() })
	return c
}

// greet says hello with settings, and reads from then on.
func (c *client) greet(settings ...http2.Setting) *client {
	c.t.Helper()
	c.raw(http2.ClientPreface)
	c.must(c.fr.WriteSettings(settings...))
	go c.read()
	c.t.Cleanup(func() {
		_ = c.net.Close()
		<-c.ended
	})
	c.said()
	return c
}

func (c *client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) raw(s string) {
	c.t.Helper()
	_, err := c.net.Write([]byte(s))
	c.must(err)
}

func (c *client) read() {
	defer close(c.ended)
	for {
		f, err := c.fr.ReadFrame()
		line := "END"
		if err == nil {
			line = describe(f)
		} else if stream, ok := err.(http2.StreamError); ok {
			line, err = "FAULT "+stream.Error(), nil
		}
		c.mu.Lock()
		c.lines = append(c.lines, line)
		if err == nil {
			c.last = line
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// said returns what the server has said since the last call, once it has nothing
// more to say.
func (c *client) said() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	c.lines = nil
	return lines
}

// expect demands that a line begins thus.
func (c *client) expect(want ...string) {
	c.t.Helper()
	got := c.said()
	for _, w := range want {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, w) }) {
			c.t.Errorf("the server said %q, want %q", got, w)
		}
	}
}

func describe(f http2.Frame) string {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		var b strings.Builder
		for _, field := range f.Fields {
			fmt.Fprintf(&b, " %s=%s", field.Name, field.Value)
		}
		return fmt.Sprintf("HEADERS %d%s%s", id, ending(f.StreamEnded()), b.String())
	case *http2.DataFrame:
		return fmt.Sprintf("DATA %d%s %d", id, ending(f.StreamEnded()), len(f.Data()))
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("RST_STREAM %d %v", id, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v %s", f.LastStreamID, f.ErrCode, f.DebugData())
	case *http2.WindowUpdateFrame:
		return fmt.Sprintf("WINDOW_UPDATE %d %d", id, f.Increment)
	case *http2.PingFrame:
		return fmt.Sprintf("PING%s %s", acknowledges(f.IsAck()), f.Data)
	case *http2.SettingsFrame:
		return "SETTINGS" + acknowledges(f.IsAck())
	}
	return f.Header().String()
}

func ending(yes bool) string {
	if yes {
		return " end"
	}
	return ""
}

func acknowledges(yes bool) string {
	if yes {
		return " ack"
	}
	return ""
}

// fields are those of an ordinary request; more are added, or take the place of
// those of the same name; one without a value goes.
func fields(path string, more ...string) []string {
	all := []string{":method=POST", ":scheme=http", ":path=" + path, ":authority=test", "content-type=application/grpc", "te=trailers"}
	for _, field := range more {
		name, value, _ := strings.Cut(field, "=")
		i := slices.IndexFunc(all, func(f string) bool { return strings.HasPrefix(f, name+"=") })
		switch {
		case i < 0:
			all = append(all, field)
		case value == "":
			all = slices.Delete(all, i, i+1)
		default:
			all[i] = field
		}
	}
	return all
}

// encode makes a header block.
func (c *client) encode(fields []string) []byte {
	c.t.Helper()
	c.block.Reset()
	for _, field := range fields {
		i := strings.Index(field[1:], "=") + 1
		c.must(c.enc.WriteField(hpack.HeaderField{Name: field[:i], Value: field[i+1:]}))
	}
	return c.block.Bytes()
}

func (c *client) headers(id uint32, ends bool, fields []string) {
	c.t.Helper()
	c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(fields), EndStream: ends, EndHeaders: true}))
}

// begin sends the headers of a request that goes on.
func (c *client) begin(id uint32, path string, more ...string) {
	c.t.Helper()
	c.headers(id, false, fields(path, more...))
}

func (c *client) data(id uint32, ends bool, payload []byte) {
	c.t.Helper()
	for len(payload) > frameBytesMax {
		c.must(c.fr.WriteData(id, false, payload[:frameBytesMax]))
		payload = payload[frameBytesMax:]
	}
	c.must(c.fr.WriteData(id, ends, payload))
}

// call sends a whole request with a message of so many bytes.
func (c *client) call(id uint32, path string, bytes int, more ...string) {
	c.t.Helper()
	c.begin(id, path, more...)
	c.data(id, true, packed(c.t, bytes))
}

// packed is a message with its prefix.
func packed(t testing.TB, bytes int) []byte {
	t.Helper()
	b, err := proto.Marshal(&wrapperspb.BytesValue{Value: make([]byte, bytes)})
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}
