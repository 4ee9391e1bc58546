package h2

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type bytesValue = wrapperspb.BytesValue

// gate lets handlers wait until a test lets them go, whatever their contexts say.
type gate struct {
	open chan struct{}
	errs chan error // of the contexts of those that have gone
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan error, 1000)} }

func (g *gate) unary(ctx context.Context, m *bytesValue) (*bytesValue, error) {
	<-g.open
	g.errs <- ctx.Err()
	return m, nil
}

// Handlers whose streams were reset count until they return: a client that
// resets at once has no more of them than one that waits.
func TestRapidReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		_, l := serve(t, Config{ConcurrentStreamsMax: 3}, handlers{unary: g.unary})
		c := connect(t, l).greet()
		for id := uint32(1); id < 201; id += 2 {
			c.call(id, unaryPath, 1)
			c.must(c.fr.WriteRSTStream(id, http2.ErrCodeCancel))
		}
		refused := 0
		for _, line := range c.said() {
			if len(line) > 10 && line[:10] == "RST_STREAM" {
				refused++
			}
		}
		// Of each refused stream the DATA is refused, too, as its RST_STREAM is not.
		if want := 2 * 97; refused != want {
			t.Errorf("%d were refused, want %d", refused, want)
		}
		close(g.open)
		for range 3 {
			if err := <-g.errs; !errors.Is(err, context.Canceled) {
				t.Errorf("the context of a request that was reset: %v", err)
			}
		}
		c.call(301, unaryPath, 1)
		c.expect("HEADERS 301 end grpc-status=0")
	})
}

func TestConcurrentStreamsMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		_, l := serve(t, Config{ConcurrentStreamsMax: 2}, handlers{unary: g.unary})
		c := connect(t, l).greet()
		c.begin(1, unaryPath) // not yet whole, but there
		c.call(3, unaryPath, 1)
		c.call(5, unaryPath, 1)
		c.expect("RST_STREAM 5 REFUSED_STREAM")
		c.must(c.fr.WriteRSTStream(1, http2.ErrCodeCancel))
		c.call(7, unaryPath, 1)
		close(g.open)
		c.expect("HEADERS 3", "HEADERS 7")
	})
}

// The end of a stream ends what its handler waits for.
func TestResetWakesHandlers(t *testing.T) {
	for name, wait := range map[string]func(s grpc.ServerStream) error{
		"receiving": func(s grpc.ServerStream) error { return s.RecvMsg(&bytesValue{}) },
		"sending":   func(s grpc.ServerStream) error { return s.SendMsg(&bytesValue{Value: make([]byte, 1<<20)}) },
		"context": func(s grpc.ServerStream) error {
			<-s.Context().Done()
			return status.FromContextError(s.Context().Err()).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				errs := make(chan error, 1)
				_, l := serve(t, Config{}, handlers{stream: func(s grpc.ServerStream) error {
					err := wait(s)
					errs <- err
					return err
				}})
				c := connect(t, l).greet()
				c.begin(1, streamPath)
				c.said()
				c.must(c.fr.WriteRSTStream(1, http2.ErrCodeCancel))
				if err := <-errs; status.Code(err) != codes.Canceled {
					t.Error(err)
				}
				c.begin(3, streamPath, "grpc-timeout=1S")
				if err := <-errs; status.Code(err) != codes.DeadlineExceeded {
					t.Error(err)
				}
				c.begin(5, streamPath)
				c.said()
				_ = c.net.Close()
				if err := <-errs; status.Code(err) != codes.Canceled {
					t.Error(err)
				}
			})
		})
	}
}

// A client may be done while its handler is not.
func TestHalfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{}, handlers{stream: func(s grpc.ServerStream) error {
			for {
				if err := s.RecvMsg(&bytesValue{}); err == io.EOF {
					break
				} else if err != nil {
					return err
				}
			}
			time.Sleep(time.Minute) // of virtual time
			return s.SendMsg(&bytesValue{})
		}})
		c := connect(t, l).greet()
		c.begin(1, streamPath)
		c.data(1, false, packed(t, 1))
		c.data(1, true, nil)
		c.headers(3, true, fields(streamPath))
		c.begin(5, streamPath)
		c.headers(5, true, []string{"trailers=count"})
		time.Sleep(time.Minute)
		c.expect("HEADERS 1 end grpc-status=0", "HEADERS 3 end grpc-status=0", "HEADERS 5 end grpc-status=0")
	})
}

// A handler may go on with its stream after the stream's end; nothing is sent.
func TestHandlerOutlivesItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(chan grpc.ServerStream, 1)
		_, l := serve(t, Config{}, handlers{stream: func(s grpc.ServerStream) error {
			streams <- s
			return status.Error(codes.Aborted, "early")
		}})
		c := connect(t, l).greet()
		c.begin(1, streamPath)
		c.expect("HEADERS 1 end :status=200 content-type=application/grpc grpc-status=10 grpc-message=early", "RST_STREAM 1 NO_ERROR")
		s := <-streams
		s.SetTrailer(metadata.Pairs("k", "v"))
		for _, err := range []error{
			s.SendMsg(&bytesValue{}), s.RecvMsg(&bytesValue{}), s.SetHeader(metadata.Pairs("k", "v")), s.SendHeader(nil), s.Context().Err(),
		} {
			if err == nil {
				t.Error("what came too late was no error")
			}
		}
		if lines := c.said(); len(lines) > 0 {
			t.Errorf("%q was sent", lines)
		}
	})
}

// Headers that a handler set before it failed are headers, not trailers.
func TestHeadersOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{}, handlers{unary: func(ctx context.Context, _ *bytesValue) (*bytesValue, error) {
			if err := errors.Join(grpc.SetHeader(ctx, metadata.Pairs("head", "1")), grpc.SetTrailer(ctx, metadata.Pairs("tail", "2"))); err != nil {
				return nil, err
			}
			return nil, status.Error(codes.NotFound, "no")
		}})
		c := connect(t, l).greet()
		c.call(1, unaryPath, 1)
		c.expect("HEADERS 1 :status=200 content-type=application/grpc head=1", "HEADERS 1 end grpc-status=5 grpc-message=no tail=2")
	})
}

// Requests of HTTP that are none of gRPC are read to their end and answered.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Config{}, handlers{})
		c := connect(t, l).greet()
		c.headers(1, true, fields("/", ":method=GET"))
		c.headers(3, true, fields("/", ":method=HEAD"))
		c.begin(5, "/", "content-type=text/plain")
		for range 100 { // more than the window
			c.data(5, false, make([]byte, frameBytesMax))
			synctest.Wait()
		}
		c.expect("HEADERS 1 :status=405", "DATA 1 end", "HEADERS 3 :status=405", "DATA 3 end 0", "WINDOW_UPDATE 5")
		c.data(5, true, nil)
		c.expect("HEADERS 5 :status=415", "DATA 5 end")
	})
}
