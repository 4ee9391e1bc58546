package h2

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzConn gives a connection any bytes, behind the preface: nothing may panic,
// and the server stops afterwards, with every handler.
func FuzzConn(f *testing.F) {
	for _, seed := range conversations(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		s, l := serve(t, Config{ConcurrentStreamsMax: 10, MessageBytesMax: 1 << 16}, handlers{})
		c, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan error, 1)
		go func() { heard <- listenTo(c) }()
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(sent) // the server may have had enough before the end
		_ = c.Close()
		if err := <-heard; err != nil {
			t.Errorf("what the server said is no HTTP/2: %v", err)
		}
		s.Stop()
		for conn := range s.mu.conns {
			t.Errorf("%v is left", conn)
		}
	})
}

// listenTo reads what a server says: whole frames, in sequences that make sense.
func listenTo(c net.Conn) error {
	fr := http2.NewFramer(nil, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(tableBytes, nil)
	for {
		_, err := fr.ReadFrame()
		switch err.(type) {
		case nil:
		case http2.ConnectionError, http2.StreamError:
			return err
		default:
			return nil // closed, by one side or the other
		}
	}
}

// conversations are what a fuzzer begins with.
func conversations(t testing.TB) (all [][]byte) {
	add := func(talk func(c *client)) {
		var b bytes.Buffer
		c := &client{t: t, fr: http2.NewFramer(&b, nil)}
		c.fr.AllowIllegalWrites = true
		c.enc = hpack.NewEncoder(&c.block)
		c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}))
		talk(c)
		if b.Len() < 2<<10 { // others only slow the fuzzer down
			all = append(all, b.Bytes())
		}
	}
	add(func(c *client) { c.call(1, unaryPath, 100) })
	add(func(c *client) { c.call(1, streamPath, 1000); c.call(3, unaryPath, 10) })
	add(func(c *client) { c.begin(1, streamPath, "grpc-timeout=1m", "a-bin=AP8", "grpc-encoding=gzip") })
	add(func(c *client) {
		c.begin(1, streamPath)
		c.data(1, false, packed(t, 100))
		c.must(c.fr.WriteRSTStream(1, http2.ErrCodeCancel))
	})
	for _, fault := range faults {
		add(fault.do)
	}
	return all
}
