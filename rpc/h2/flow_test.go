package h2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// dataBytes counts what DATA frames of a stream bring.
func dataBytes(lines []string, stream int) (sum int) {
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(strings.Replace(line, " end", "", 1), fmt.Sprintf("DATA %d %%d", stream), &n); err == nil {
			sum += n
		}
	}
	return sum
}

// An answer goes as far as the windows of stream and connection, and on when
// they open; trailers need none.
func TestAnswersKeepToWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{}, handlers{})
		c := connect(t, l).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
		c.call(1, unaryPath, 100_000)
		demand := func(want int) {
			t.Helper()
			if got := dataBytes(c.said(), 1); got != want {
				t.Errorf("%d bytes came, want %d", got, want)
			}
		}
		demand(10)
		c.must(c.fr.WriteWindowUpdate(1, 5))
		demand(5)
		c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})) // 6 bytes in debt
		c.must(c.fr.WriteWindowUpdate(1, 6))
		demand(0)
		c.must(c.fr.WriteWindowUpdate(1, 1))
		demand(1)
		c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
		demand(windowBytesDefault - 16) // all that the connection's window has
		c.must(c.fr.WriteWindowUpdate(0, 1<<20))
		lines := c.said()
		if got, want := dataBytes(lines, 1), len(packed(t, 100_000))-windowBytesDefault; got != want {
			t.Errorf("%d bytes came at last, want %d", got, want)
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "HEADERS 1 end grpc-status=0") {
			t.Errorf("the last word is %q", last)
		}
	})
}

// One stream without a window keeps no other waiting.
func TestStreamsWaitForThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{}, handlers{})
		c := connect(t, l).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		c.call(1, unaryPath, 100)
		c.begin(3, unaryPath)
		c.must(c.fr.WriteWindowUpdate(3, 1000))
		c.data(3, true, packed(t, 100))
		c.expect("DATA 1 1", "HEADERS 3 end")
		c.must(c.fr.WriteRSTStream(1, http2.ErrCodeCancel)) // the handler that waits goes, too
	})
}

// What a handler does not read fills the window of its stream, and no more; what
// it reads opens it again.
func TestWindowsOpenAsHandlersRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		_, l := serve(t, Config{StreamWindowBytes: windowBytesDefault, ConnWindowBytes: 1 << 20}, handlers{stream: func(s grpc.ServerStream) error {
			for range read {
				if err := s.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
					return err
				}
			}
			return nil
		}})
		c := connect(t, l).greet()
		c.begin(1, streamPath)
		message := packed(t, 10_000)
		for range 6 {
			c.data(1, false, message)
		}
		if lines := c.said(); slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, "WINDOW_UPDATE 1") }) {
			t.Errorf("the window opens before anything is read: %q", lines)
		}
		for range 6 {
			read <- struct{}{}
		}
		c.expect(fmt.Sprintf("WINDOW_UPDATE 1 %d", 6*len(message)))
		// A message larger than the window opens it by itself.
		large := packed(t, 3*windowBytesDefault)
		for rest := large; len(rest) > 0; {
			n := min(len(rest), windowBytesDefault/2)
			c.data(1, false, rest[:n])
			rest = rest[n:]
			synctest.Wait()
		}
		read <- struct{}{}
		close(read)
		c.expect("HEADERS 1 end :status=200 content-type=application/grpc grpc-status=0", "RST_STREAM 1 NO_ERROR")
	})
}

// A stream that ended goes on to be counted for the connection's window, which
// would otherwise close bit by bit.
func TestConnectionWindowOutlivesStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{ConnWindowBytes: windowBytesDefault}, handlers{})
		c := connect(t, l).greet()
		c.headers(1, true, fields("/no"))
		for range 100 {
			c.data(1, false, make([]byte, frameBytesMax))
			synctest.Wait()
		}
		c.call(3, unaryPath, 30_000)
		c.expect("WINDOW_UPDATE 0 16384", "HEADERS 3 end")
	})
}

func TestMoreThanTheConnectionWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The server announces more than it minds: nothing is acknowledged in time.
		s, l := serve(t, Config{ConnWindowBytes: windowBytesDefault, StreamWindowBytes: 1 << 20}, handlers{})
		c := connect(t, l).greet()
		s.mu.Lock()
		for conn := range s.mu.conns {
			conn.mu.Lock()
			conn.mu.receiveWindow = 10
			conn.mu.Unlock()
		}
		s.mu.Unlock()
		c.begin(1, streamPath)
		c.data(1, false, make([]byte, 11))
		c.expect("GOAWAY 1 FLOW_CONTROL_ERROR")
	})
}

// A message that its deadline cuts in two is followed by no status, which would
// be read as the rest of it.
func TestDeadlineWithinAMessage(t *testing.T) {
	for name, path := range map[string]string{"unary": unaryPath, "stream": streamPath} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := serve(t, Config{}, handlers{})
				c := connect(t, l).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
				c.call(1, path, 100, "grpc-timeout=1S")
				c.expect("DATA 1 10")
				time.Sleep(time.Second)
				if lines := c.said(); !slices.Equal(lines, []string{"RST_STREAM 1 CANCEL"}) {
					t.Errorf("the server said %q", lines)
				}
				c.must(c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize}))
				c.call(3, path, 100, "grpc-timeout=1S") // not even a part of it is sent
				time.Sleep(time.Second)
				c.expect("HEADERS 3 end grpc-status=4")
			})
		})
	}
}
