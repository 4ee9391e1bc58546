package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// stopping calls stop and returns a channel that closes when it returns.
func stopping(stop func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		stop()
		close(done)
	}()
	synctest.Wait()
	return done
}

// What a client sent before it heard that we leave is served; then it is told,
// and the connection ends when it closes, or a moment later.
func TestGracefulStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s, l := serve(t, Config{}, handlers{unary: g.unary})
		c := connect(t, l).greet()
		c.call(1, unaryPath, 1)
		c.said()
		done := stopping(s.GracefulStop)
		c.expect("GOAWAY 2147483647 NO_ERROR", "PING drain")
		c.call(3, unaryPath, 1) // it has not heard yet
		c.must(c.fr.WritePing(true, drainPing))
		c.expect("GOAWAY 3 NO_ERROR")
		c.call(5, unaryPath, 1)
		c.expect("RST_STREAM 5 REFUSED_STREAM")
		if isClosed(done) {
			t.Fatal("it returned before the handlers")
		}
		close(g.open)
		c.expect("HEADERS 1 end grpc-status=0", "HEADERS 3 end grpc-status=0")
		if isClosed(c.ended) || isClosed(done) {
			t.Error("the connection ended before the client had a moment to read")
		}
		began := time.Now()
		<-done
		<-c.ended
		if took := time.Since(began); took != farewellTime {
			t.Errorf("it took %v", took)
		}
		if _, err := l.Dial(); err == nil {
			t.Error("somebody still listens")
		}
	})
}

// A client that closes when it has read all keeps nobody waiting.
func TestGracefulStopOfAGoodClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := serve(t, Config{}, handlers{})
		c := connect(t, l).greet()
		done := stopping(s.GracefulStop)
		c.must(c.fr.WritePing(true, drainPing))
		c.expect("GOAWAY 0 NO_ERROR")
		began := time.Now()
		_ = c.net.Close()
		<-done
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// A client that does not say that it has heard is left, too.
func TestGracefulStopOfASilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := serve(t, Config{}, handlers{})
		connect(t, l).greet()
		began := time.Now()
		s.GracefulStop()
		if took := time.Since(began); took != drainTime+farewellTime {
			t.Errorf("it took %v", took)
		}
	})
}

// Stop waits for handlers, whose contexts end at once, but for no client.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s, l := serve(t, Config{}, handlers{unary: g.unary, stream: func(s grpc.ServerStream) error {
			for { // more than the client reads
				if err := s.SendMsg(&bytesValue{Value: make([]byte, 1<<10)}); err != nil {
					return err
				}
			}
		}})
		c := connect(t, l).greet()
		c.call(1, unaryPath, 1)
		mute := connect(t, l)
		mute.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		mute.must(mute.fr.WriteSettings())
		mute.must(mute.fr.WriteWindowUpdate(0, 1<<30))
		mute.begin(1, streamPath)
		mute.must(mute.fr.WriteWindowUpdate(1, 1<<30))
		c.said()
		graceful := stopping(s.GracefulStop) // and then no longer
		done := stopping(s.Stop)
		if isClosed(done) {
			t.Error("it returned before a handler")
		}
		close(g.open)
		<-done
		<-graceful
		if err := <-g.errs; err == nil {
			t.Error("the context of a handler did not end")
		}
		if err := s.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
}

// Whoever does not finish a handshake is not waited for, by Stop or at all.
func TestStopDuringHandshakes(t *testing.T) {
	for name, cfg := range map[string]Config{"plain": {}, "tls": {Credentials: credentials.NewTLS(nil)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l := serve(t, cfg, handlers{})
				connect(t, l)
				time.Sleep(greetTime)
				synctest.Wait()
				s.mu.Lock()
				if n := len(s.mu.conns) + len(s.mu.shaking); n != 0 {
					t.Errorf("%d connections are left", n)
				}
				s.mu.Unlock()
				for range 3 {
					connect(t, l)
				}
				synctest.Wait()
				began := time.Now()
				s.Stop()
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// halfConn can be closed for writing, as TCP connections can.
type halfConn struct {
	net.Conn
	shut atomic.Bool
}

func (c *halfConn) CloseWrite() error {
	c.shut.Store(true)
	return nil
}

func (c *halfConn) Write(b []byte) (int, error) {
	if c.shut.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// What a client did wrong is told also when something is being written to it.
func TestLastWordsComeBehindAWriteUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serve(t, Config{}, handlers{})
		near, far := net.Pipe()
		c, err := newConn(s, &halfConn{Conn: near})
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(c.serve)
		defer serving.Wait()
		defer func() { _ = far.Close() }()
		fr := http2.NewFramer(far, far)
		if _, err := io.WriteString(far, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(fr.WriteSettings(), fr.WritePing(false, [8]byte{}), fr.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the greeting is still being written: nobody has read it
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatalf("the connection ended without a word: %v", err)
			}
			if f.Header().Type == http2.FrameGoAway {
				return
			}
		}
	})
}
