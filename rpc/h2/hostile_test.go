package h2

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// faults are what clients do wrong, and what they hear for it. Handlers wait for
// the end of their contexts.
var faults = []struct {
	name string
	do   func(*client)
	want string
}{
	{"a frame too large", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, frameBytesMax+1))) }, "GOAWAY 0 FRAME_SIZE"},
	{"data of no stream", func(c *client) { c.data(0, false, nil) }, "GOAWAY 0 PROTOCOL"},
	{"data of an idle stream", func(c *client) { c.data(1, false, nil) }, "GOAWAY 0 PROTOCOL"},
	{"data after the end", func(c *client) { c.call(1, unaryPath, 1); c.data(1, false, nil) }, "RST_STREAM 1 STREAM_CLOSED"},
	{"data of a stream that is over", func(c *client) { c.call(1, "/no", 1); c.data(1, false, nil) }, "RST_STREAM 1 STREAM_CLOSED"},
	{"data after trailers", func(c *client) {
		c.begin(1, streamPath)
		c.headers(1, true, []string{"x=y"})
		c.data(1, true, nil)
	}, "RST_STREAM 1 STREAM_CLOSED"},
	{"trailers that go on", func(c *client) { c.begin(1, streamPath); c.headers(1, false, []string{"x=y"}) }, "RST_STREAM 1 PROTOCOL"},
	{"trailers that begin", func(c *client) { c.begin(1, streamPath); c.headers(1, true, []string{":authority=y"}) }, "RST_STREAM 1 PROTOCOL"},
	{"trailers twice", func(c *client) { c.call(1, unaryPath, 1); c.headers(1, true, []string{"x=y"}) }, "RST_STREAM 1 STREAM_CLOSED"},
	{"padding too long", func(c *client) {
		c.begin(1, streamPath)
		c.must(c.fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{2, 0}))
	}, "GOAWAY 1 PROTOCOL"},
	{"padding without length", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil)) }, "GOAWAY 0 FRAME_SIZE"},
	{"an even stream", func(c *client) { c.begin(2, streamPath) }, "GOAWAY 0 PROTOCOL"},
	{"a stream twice", func(c *client) { c.call(1, "/no", 1); c.begin(1, streamPath) }, "GOAWAY 1 STREAM_CLOSED"},
	{"a stream that was left out", func(c *client) { c.begin(3, streamPath); c.begin(1, streamPath) }, "GOAWAY 3 STREAM_CLOSED"},
	{"headers that depend on themselves", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 1}}))
	}, "GOAWAY 0 PROTOCOL"},
	{"a priority cut short", func(c *client) {
		c.must(c.fr.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPriority, 1, []byte{1}))
	}, "GOAWAY 0 FRAME_SIZE"},
	{"HPACK out of range", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x80, 0x80, 0x08}, EndHeaders: true}))
	}, "GOAWAY 0 COMPRESSION"},
	{"a header block interrupted", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}))
		c.must(c.fr.WritePing(false, [8]byte{}))
	}, "GOAWAY 0 PROTOCOL"},
	{"a header block of another stream", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}))
		c.must(c.fr.WriteContinuation(3, true, nil))
	}, "GOAWAY 0 PROTOCOL"},
	{"a continuation alone", func(c *client) { c.must(c.fr.WriteContinuation(1, true, nil)) }, "GOAWAY 0 PROTOCOL"},
	{"continuations without end", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}))
		for range blockBytesMax/frameHeaderBytes + 1 {
			c.must(c.fr.WriteContinuation(1, false, nil))
		}
	}, "GOAWAY 0 ENHANCE_YOUR_CALM"},
	{"headers too large packed", func(c *client) {
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}))
		for range blockBytesMax/frameBytesMax + 1 {
			c.must(c.fr.WriteContinuation(1, false, make([]byte, frameBytesMax)))
		}
	}, "GOAWAY 0 ENHANCE_YOUR_CALM"},
	{"headers too large unpacked", func(c *client) {
		all := fields(unaryPath)
		for range 20 {
			all = append(all, "x="+strings.Repeat("y", 3500))
		}
		c.headers(1, true, all) // the same one again is a byte
	}, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=8"},
	{"a header too large", func(c *client) {
		block := c.encode(fields(unaryPath, "x="+strings.Repeat("~", 2*headerBytesMax)))
		c.must(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:100], EndStream: true}))
		for rest := block[100:]; len(rest) > 0; {
			n := min(len(rest), frameBytesMax)
			c.must(c.fr.WriteContinuation(1, n == len(rest), rest[:n]))
			rest = rest[n:]
		}
	}, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=8"},
	{"a push", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FramePushPromise, 0, 1, make([]byte, 4))) }, "GOAWAY 0 PROTOCOL"},
	{"settings of a stream", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameSettings, 0, 1, nil)) }, "GOAWAY 0 PROTOCOL"},
	{"settings cut short", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) }, "GOAWAY 0 FRAME_SIZE"},
	{"settings acknowledged with some", func(c *client) {
		c.must(c.fr.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)))
	}, "GOAWAY 0 FRAME_SIZE"},
	{"a push wanted twice", func(c *client) { c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})) }, "GOAWAY 0 PROTOCOL"},
	{"an initial window too large", func(c *client) {
		c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
	}, "GOAWAY 0 FLOW_CONTROL"},
	{"initial windows that overflow a stream's", func(c *client) {
		c.begin(1, streamPath)
		c.must(c.fr.WriteWindowUpdate(1, windowBytesLimit-windowBytesDefault))
		c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowBytesDefault + 1}))
	}, "GOAWAY 1 FLOW_CONTROL"},
	{"a window of nothing", func(c *client) { c.must(c.fr.WriteWindowUpdate(0, 0)) }, "GOAWAY 0 PROTOCOL"},
	{"a stream's window of nothing", func(c *client) { c.begin(1, streamPath); c.must(c.fr.WriteWindowUpdate(1, 0)) }, "RST_STREAM 1 PROTOCOL"},
	{"a window too large", func(c *client) { c.must(c.fr.WriteWindowUpdate(0, windowBytesLimit)) }, "GOAWAY 0 FLOW_CONTROL"},
	{"a stream's window too large", func(c *client) { c.begin(1, streamPath); c.must(c.fr.WriteWindowUpdate(1, windowBytesLimit)) }, "RST_STREAM 1 FLOW_CONTROL"},
	{"a window of an idle stream", func(c *client) { c.must(c.fr.WriteWindowUpdate(1, 1)) }, "GOAWAY 0 PROTOCOL"},
	{"a window cut short", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, []byte{1})) }, "GOAWAY 0 FRAME_SIZE"},
	{"a reset of an idle stream", func(c *client) { c.must(c.fr.WriteRSTStream(1, http2.ErrCodeCancel)) }, "GOAWAY 0 PROTOCOL"},
	{"a reset of no stream", func(c *client) { c.must(c.fr.WriteRSTStream(0, http2.ErrCodeCancel)) }, "GOAWAY 0 PROTOCOL"},
	{"a reset cut short", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{1})) }, "GOAWAY 0 FRAME_SIZE"},
	{"a priority of no stream", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FramePriority, 0, 0, make([]byte, 5))) }, "GOAWAY 0 PROTOCOL"},
	{"a priority of itself", func(c *client) { c.must(c.fr.WritePriority(3, http2.PriorityParam{StreamDep: 3})) }, "RST_STREAM 3 PROTOCOL"},
	{"a priority of another length", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FramePriority, 0, 3, make([]byte, 6))) }, "RST_STREAM 3 FRAME_SIZE"},
	{"a ping of a stream", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8))) }, "GOAWAY 0 PROTOCOL"},
	{"a ping cut short", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7))) }, "GOAWAY 0 FRAME_SIZE"},
	{"a goaway of a stream", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameGoAway, 0, 1, make([]byte, 8))) }, "GOAWAY 0 PROTOCOL"},
	{"a goaway cut short", func(c *client) { c.must(c.fr.WriteRawFrame(http2.FrameGoAway, 0, 0, make([]byte, 7))) }, "GOAWAY 0 FRAME_SIZE"},
	{"pings", func(c *client) {
		for range pingStrikesMax + 2 {
			c.must(c.fr.WritePing(false, [8]byte{}))
		}
	}, "GOAWAY 0 ENHANCE_YOUR_CALM too_many_pings"},
	{"more than a stream's window", func(c *client) {
		c.begin(1, unaryPath)
		c.data(1, false, packed(c.t, 1)) // the message is whole, and nobody reads on
		c.data(1, false, make([]byte, windowBytesDefault))
	}, "RST_STREAM 1 FLOW_CONTROL"},
	{"a message larger than the bound", func(c *client) { c.begin(1, unaryPath); c.data(1, false, []byte{0, 1, 0, 0, 0}) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=8"},
	{"a message of unknown form", func(c *client) { c.begin(1, unaryPath); c.data(1, true, []byte{2, 0, 0, 0, 0}) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=13"},
	{"half a message", func(c *client) { c.begin(1, unaryPath); c.data(1, true, []byte{0, 0, 0, 0, 9}) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=13"},
	{"no message", func(c *client) { c.headers(1, true, fields(unaryPath)) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=13"},
	{"no protobuf", func(c *client) { c.begin(1, unaryPath); c.data(1, true, []byte{0, 0, 0, 0, 1, 7}) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=13"},
	{"compressed without saying how", func(c *client) { c.begin(1, unaryPath); c.data(1, true, []byte{1, 0, 0, 0, 0}) }, "HEADERS 1 end :status=200 content-type=application/grpc grpc-status=13"},
	{"more than content-length", func(c *client) { c.begin(1, unaryPath, "content-length=4"); c.data(1, false, make([]byte, 5)) }, "RST_STREAM 1 PROTOCOL"},
	{"less than content-length", func(c *client) { c.begin(1, streamPath, "content-length=6"); c.data(1, true, make([]byte, 5)) }, "RST_STREAM 1 PROTOCOL"},
	{"nothing in spite of content-length", func(c *client) { c.headers(1, true, fields(unaryPath, "content-length=1")) }, "RST_STREAM 1 PROTOCOL"},
}

func TestFaultsOfClients(t *testing.T) {
	wait := func(ctx context.Context, _ *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := serve(t, Config{MessageBytesMax: 1 << 16, StreamWindowBytes: windowBytesDefault}, handlers{unary: wait})
				c := connect(t, l).greet()
				fault.do(c)
				c.expect(fault.want)
				if strings.HasPrefix(fault.want, "GOAWAY") {
					<-c.ended
					return
				}
				c.call(101, "/no", 1) // the connection goes on
				c.expect("HEADERS 101 end")
			})
		})
	}
}

// A client that makes us answer and does not read the answers is cut off.
func TestUnreadAnswers(t *testing.T) {
	floods := []struct {
		name        string
		answerBytes int
		do          func(c *client, i uint32)
	}{
		{"settings", frameHeaderBytes, func(c *client, _ uint32) { c.must(c.fr.WriteSettings()) }},
		{"faulty streams", frameHeaderBytes + 4, func(c *client, i uint32) { c.headers(2*i+1, true, []string{"x=y"}) }},
		{"unknown methods", 60, func(c *client, i uint32) { c.headers(2*i+1, true, fields("/no")) }},
		{"data of an ended stream", frameHeaderBytes + 4, func(c *client, i uint32) {
			if i == 0 {
				c.headers(1, true, fields("/no"))
			}
			c.data(1, false, nil)
		}},
	}
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := serve(t, Config{}, handlers{})
				c := connect(t, l)
				c.raw(http2.ClientPreface)
				c.must(c.fr.WriteSettings())
				for i := range uint32(2*pipeBytes+outBytesLimit) / uint32(flood.answerBytes) {
					flood.do(c, i)
				}
				synctest.Wait()
				go c.read() // too late
				<-c.ended
				c.expect("GOAWAY", "END")
				if said := c.last; !strings.Contains(said, "ENHANCE_YOUR_CALM answers are not read") {
					t.Errorf("the last word was %q", said)
				}
			})
		})
	}
}
