package h2

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/peer"
)

// conn is one connection of a client.
type conn struct {
	server *Server
	net    net.Conn
	born   time.Time

	// The reader's own.
	in    frameReader
	heads *headReader
	pings pingWatch

	lastRead atomic.Int64 // when something came, in nanoseconds since born
	owed     atomic.Int64 // bytes that the reader has queued and nobody has written

	mu struct {
		sync.Mutex
		streams map[uint32]*stream
		last    uint32 // the highest stream that the client began
		running uint32 // handlers, those of streams that were reset included
		ended   bool   // nothing is read any more
		drain   drainState

		// What is to be written, by whoever set writing.
		out, spare []byte
		writing    bool
		// The first patientBytes of out begin no write: timer will see to them.
		patientBytes int
		timer        *time.Timer   // nil: never needed
		timed        bool          // timer runs
		silent       chan struct{} // closed when nothing more is written; nil while frames are read
		drained      bool          // the last byte written, the connection ends
		leaving      *time.Timer   // ends the drain, or then the connection, if the client does not
		answers      answers
		block        []byte               // scratch for a header block
		waiting      map[*stream]struct{} // for a window or for room in out
		answered     bool                 // a request was, since the last ping

		// How much each side may send, and what the client wants for its streams.
		sendWindow, streamWindow int64
		receiveWindow, unacked   int64
	}
}

// drainState is how far a graceful end has come.
type drainState uint8

const (
	drainNot      drainState = iota
	drainAnnounce            // the client was told; requests it had sent before still count
	drainFinal               // the client has heard it
)

// drainPing tells the acknowledgement of a graceful end from those of
// keepalive.
var drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}

func newConn(s *Server, raw net.Conn) (*conn, error) {
	p := &peer.Peer{Addr: raw.RemoteAddr(), LocalAddr: raw.LocalAddr()}
	if creds := s.cfg.Credentials; creds != nil {
		secure, info, err := creds.ServerHandshake(raw)
		if err != nil {
			return nil, err
		}
		raw, p.AuthInfo = secure, info
	}
	return startConn(s, raw, p), nil
}

func startConn(s *Server, raw net.Conn, p *peer.Peer) *conn {
	c := &conn{server: s, net: raw, born: time.Now()}
	c.in = frameReader{r: raw, arrived: func() { c.lastRead.Store(int64(time.Since(c.born))) }}
	c.heads = newHeadReader(peer.NewContext(context.Background(), p))
	c.heads.trace = s.cfg.TraceHeader
	c.mu.streams = map[uint32]*stream{}
	c.mu.waiting = map[*stream]struct{}{}
	c.mu.sendWindow, c.mu.streamWindow = windowBytesDefault, windowBytesDefault
	c.mu.receiveWindow = int64(s.cfg.ConnWindowBytes)
	c.mu.out = s.cfg.greeting() // before anything else could be queued
	return c
}

// greeting is what the server says first.
func (c *Config) greeting() []byte {
	settings := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: c.StreamWindowBytes},
		{ID: http2.SettingMaxHeaderListSize, Val: headerBytesMax},
	}
	if c.ConcurrentStreamsMax != noBound {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.ConcurrentStreamsMax})
	}
	b := appendSettings(nil, settings...)
	if more := c.ConnWindowBytes - windowBytesDefault; more > 0 {
		b = appendWindowUpdate(b, 0, more)
	}
	return b
}

// serve reads the connection until it ends.
func (c *conn) serve() {
	alive := c.keepAlive()
	defer alive.stop()
	err := c.greet()
	for err == nil {
		var f frame
		if f, err = c.in.next(); err == nil {
			err = c.handle(f)
		}
		if fault, ok := err.(streamError); ok {
			c.reset(fault)
			err = nil
		}
		if err == nil && c.owed.Load() > outBytesLimit {
			err = connError{http2.ErrCodeEnhanceYourCalm, "answers are not read"}
		}
	}
	c.end(err)
}

// greet exchanges the first words of the protocol.
func (c *conn) greet() error {
	c.mu.Lock()
	c.unlockAndSpawn()
	said, err := c.in.take(len(http2.ClientPreface))
	if err != nil {
		return err
	}
	if string(said) != http2.ClientPreface {
		return connError{http2.ErrCodeProtocol, "no HTTP/2"}
	}
	first, err := c.in.next()
	if err != nil {
		return err
	}
	if first.kind != http2.FrameSettings || first.flags.Has(http2.FlagSettingsAck) {
		return connError{http2.ErrCodeProtocol, "the first frame is no SETTINGS"}
	}
	if err := c.net.SetDeadline(time.Time{}); err != nil { // that of Server.shake
		return err
	}
	return c.handle(first)
}

func (c *conn) handle(f frame) error {
	switch f.kind {
	case http2.FrameData:
		return c.data(f)
	case http2.FrameHeaders:
		return c.headers(f)
	case http2.FrameWindowUpdate:
		return c.windowUpdate(f)
	case http2.FramePing:
		return c.ping(f)
	case http2.FrameSettings:
		return c.settings(f)
	case http2.FrameRSTStream:
		return c.resetByClient(f)
	case http2.FramePriority:
		return c.priority(f)
	case http2.FrameGoAway:
		switch {
		case f.stream != 0:
			return connError{http2.ErrCodeProtocol, "GOAWAY of a stream"}
		case len(f.payload) < 8:
			return connError{http2.ErrCodeFrameSize, "a faulty GOAWAY"}
		}
		return nil // it will begin no stream any more; that is its business
	case http2.FramePushPromise, http2.FrameContinuation:
		return connError{http2.ErrCodeProtocol, "a frame that has no place here: " + f.kind.String()}
	}
	return nil // an extension that we do not know
}

// end closes the connection, with a word about what the client did wrong, and
// ends its requests.
func (c *conn) end(why error) {
	c.mu.Lock()
	c.mu.ended = true
	streams := c.mu.streams
	c.mu.streams = map[uint32]*stream{}
	for _, s := range streams {
		s.gone = true
		s.wakeSender()
	}
	if c.mu.leaving != nil {
		c.mu.leaving.Stop()
	}
	var fault connError
	told := errors.As(why, &fault)
	if told {
		c.mu.out = appendGoAway(c.mu.out, c.mu.last, fault.code, fault.why)
	}
	writes := !c.mu.writing
	c.mu.writing = true
	silent := make(chan struct{})
	c.mu.silent = silent
	c.mu.Unlock()
	for _, s := range streams {
		s.end(context.Canceled)
	}
	if !told {
		_ = c.net.Close() // it is broken, or the client is gone
	}
	// A client that does not read keeps nobody waiting.
	_ = c.net.SetWriteDeadline(time.Now().Add(farewellTime))
	if writes {
		c.write()
	}
	if told {
		c.linger(silent)
	}
}

// farewellTime is how long the last words of a connection may take.
const farewellTime = time.Second

// linger reads what is still coming: closing a socket with unread bytes would
// take the last words back. Whoever was writing may have them still to write, until
// silent is closed.
func (c *conn) linger(silent <-chan struct{}) {
	c.server.readers.Go(func() {
		<-silent
		closeWrite(c.net)
	})
	if c.net.SetReadDeadline(time.Now().Add(farewellTime)) == nil {
		var sink [1024]byte
		for {
			if _, err := c.net.Read(sink[:]); err != nil {
				break
			}
		}
	}
	_ = c.net.Close()
}

// closeWrite tells the client that nothing follows, where the connection or one
// that it wraps can.
func closeWrite(to net.Conn) {
	for to != nil {
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // else it hears so a little later
			return
		}
		wrapper, ok := to.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		to = wrapper.NetConn()
	}
}

// abort ends the connection from outside.
func (c *conn) abort() { _ = c.net.Close() }

// startDrain begins a graceful end: what the client sent before it heard of it
// is still served.
func (c *conn) startDrain() {
	c.mu.Lock()
	defer c.unlockAndSpawn()
	if c.mu.ended || c.mu.drain != drainNot {
		return
	}
	c.mu.drain = drainAnnounce
	c.mu.out = appendGoAway(c.mu.out, windowBytesLimit, http2.ErrCodeNo, "")
	c.mu.out = appendPing(c.mu.out, false, drainPing)
	c.mu.leaving = time.AfterFunc(drainTime, c.heardDrain)
}

// drainTime is how long a client may take to acknowledge that we are leaving.
const drainTime = 5 * time.Second

// heardDrain is called when the client has read the announcement, or does not.
func (c *conn) heardDrain() {
	c.mu.Lock()
	defer c.unlockAndSpawn()
	if c.mu.ended || c.mu.drain != drainAnnounce {
		return
	}
	c.mu.drain = drainFinal
	c.mu.leaving.Stop()
	c.mu.leaving = nil
	c.mu.out = appendGoAway(c.mu.out, c.mu.last, http2.ErrCodeNo, "")
	c.endIfDrained()
}

// endIfDrained lets the connection end when its last request has. The caller
// holds mu and writes afterwards.
func (c *conn) endIfDrained() {
	if c.mu.drain == drainFinal && len(c.mu.streams) == 0 {
		c.mu.drained = true
	}
}
