package unary

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Conn is a connection to one server. It is a grpc.ClientConnInterface.
type Conn struct {
	address string
	calls   sync.Pool // *call

	mu      sync.Mutex
	session *session // nil: none yet, or it broke
	closed  bool
}

// New returns a connection that is made with the first call.
func New(address string) *Conn { return &Conn{address: address} }

// Close ends the connection, and the calls that it has.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	s := c.session
	c.session = nil
	c.mu.Unlock()
	if s != nil {
		s.breakUp(errors.New("the connection was closed"))
		s.reading.Wait()
	}
	return nil
}

// NewStream is not for this connection.
func (c *Conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "this connection is for unary calls")
}

// Invoke implements grpc.ClientConnInterface; options have no effect.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	s, err := c.connect(ctx)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	k, ok := c.calls.Get().(*call)
	if !ok {
		k = &call{done: make(chan struct{}, 1)}
	}
	k.reset()
	if k.request, err = appendRequest(k.request, args.(proto.Message)); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := s.send(ctx, k, method); err != nil {
		return err
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		if s.abandon(k) {
			return status.FromContextError(ctx.Err()).Err()
		}
		<-k.done // it was answered at the same moment
	}
	defer c.calls.Put(k)
	if k.err != nil {
		return k.err
	}
	if err := proto.Unmarshal(k.body, reply.(proto.Message)); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// appendRequest encodes a message with its prefix.
func appendRequest(b []byte, m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(append(b[:0], 0, 0, 0, 0, 0), m)
	if err == nil {
		binary.BigEndian.PutUint32(b[1:], uint32(len(b)-prefixBytes))
	}
	return b, err
}

// connect returns the session that works, or makes one.
func (c *Conn) connect(ctx context.Context) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.session != nil && !c.session.isBroken() {
		return c.session, nil
	}
	s, err := dial(ctx, c.address)
	if err != nil {
		return nil, err
	}
	c.session = s
	return s, nil
}

// call is one call under way.
type call struct {
	id      uint32
	request []byte // with its prefix
	done    chan struct{}

	// Set by the reader before done.
	body []byte // of the answer, without its prefix
	err  error

	// The reader's.
	received []byte // with its prefix
	status   codes.Code
	message  string
	ended    bool // it said how the call ended
}

func (k *call) reset() {
	*k = call{request: k.request, done: k.done, received: k.received[:0]}
}

// finish is called by the reader when the stream has ended.
func (k *call) finish() {
	switch {
	case !k.ended:
		k.err = status.Error(codes.Internal, "the answer has no status")
	case k.status != codes.OK:
		k.err = status.Error(k.status, k.message)
	case len(k.received) < prefixBytes || int(binary.BigEndian.Uint32(k.received[1:])) != len(k.received)-prefixBytes || k.received[0] != 0:
		k.err = status.Error(codes.Internal, "the answer is not one plain message")
	default:
		k.body = k.received[prefixBytes:]
	}
	k.done <- struct{}{}
}
