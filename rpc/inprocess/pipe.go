package inprocess

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/metadata"
)

// pipe joins the two ends of a stream.
type pipe[Req, Resp any] struct {
	requests  chan *Req
	said      chan struct{} // closed when the caller has no more to say
	sayOnce   sync.Once
	responses chan *Resp
	ended     chan struct{} // closed when the service has returned err
	err       error
}

// Open runs serve, which ends with ctx, and returns the caller's end. What goes
// out with ctx comes in to serve.
func Open[Req, Resp any](ctx context.Context, serve func(*Serving[Req, Resp]) error) *Calling[Req, Resp] {
	p := &pipe[Req, Resp]{
		requests: make(chan *Req), said: make(chan struct{}), responses: make(chan *Resp), ended: make(chan struct{}),
	}
	// As gRPC does, so that a service's reader ends when its handler has returned.
	served, cancel := context.WithCancel(turned(ctx))
	go func() {
		defer cancel()
		defer close(p.ended)
		p.err = serve(&Serving[Req, Resp]{ctx: served, pipe: p})
	}()
	return &Calling[Req, Resp]{ctx: ctx, pipe: p}
}

// turned is ctx with what goes out of a client coming in to a service.
func turned(ctx context.Context) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	return metadata.NewIncomingContext(ctx, md)
}

var errUntyped = errors.New("a stream in process has typed messages only")

// Calling is the caller's end.
type Calling[Req, Resp any] struct {
	ctx context.Context
	*pipe[Req, Resp]
}

func (c *Calling[Req, Resp]) Send(r *Req) error {
	select {
	case c.requests <- r:
		return nil
	case <-c.ended:
		return io.EOF // Recv says why
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c *Calling[Req, Resp]) Recv() (*Resp, error) {
	select {
	case r := <-c.responses:
		return r, nil
	case <-c.ended:
		if c.err == nil {
			return nil, io.EOF
		}
		return nil, c.err
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

func (c *Calling[Req, Resp]) CloseSend() error {
	c.sayOnce.Do(func() { close(c.said) })
	return nil
}

func (c *Calling[Req, Resp]) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (c *Calling[Req, Resp]) Trailer() metadata.MD         { return nil }
func (c *Calling[Req, Resp]) Context() context.Context     { return c.ctx }
func (c *Calling[Req, Resp]) SendMsg(any) error            { return errUntyped }
func (c *Calling[Req, Resp]) RecvMsg(any) error            { return errUntyped }

// Serving is the service's end.
type Serving[Req, Resp any] struct {
	ctx context.Context
	*pipe[Req, Resp]
}

func (s *Serving[Req, Resp]) Send(r *Resp) error {
	select {
	case s.responses <- r:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *Serving[Req, Resp]) Recv() (*Req, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.said:
		return nil, io.EOF
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *Serving[Req, Resp]) Context() context.Context     { return s.ctx }
func (s *Serving[Req, Resp]) SetHeader(metadata.MD) error  { return nil }
func (s *Serving[Req, Resp]) SendHeader(metadata.MD) error { return nil }
func (s *Serving[Req, Resp]) SetTrailer(metadata.MD)       {}
func (s *Serving[Req, Resp]) SendMsg(any) error            { return errUntyped }
func (s *Serving[Req, Resp]) RecvMsg(any) error            { return errUntyped }
