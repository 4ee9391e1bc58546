package client

import (
	"context"
	"time"
)

const (
	// roundsMax bounds how often the whole list of endpoints is tried. With the
	// pauses between them, rounds go on for about 5 s, well over an election.
	roundsMax = 16
	pauseMin  = 50 * time.Millisecond
	pauseMax  = 400 * time.Millisecond
)

// operation is one request against one endpoint.
type operation func(ctx context.Context, e *endpoint) error

// do runs op on the first endpoint that serves it and returns that endpoint.
// write is whether op changes anything; then the error says whether it did.
func (c *Client) do(ctx context.Context, write bool, op operation) (*endpoint, error) {
	wait := pauseMin
	var s *sweep
	for round := range roundsMax {
		if round > 0 {
			if c.pause(ctx, wait) != nil {
				break
			}
			wait = min(2*wait, pauseMax)
		}
		s = &sweep{write: write, op: op}
		if e, err := s.over(ctx, c.primary); e != nil || err != nil {
			return e, err
		}
		if !s.reached {
			if e, err := s.over(ctx, c.fallback); e != nil || err != nil {
				return e, err
			}
		}
		if !s.reached {
			break
		}
	}
	return nil, &UnavailableError{Write: write, Endpoints: s.failures}
}

// sweep tries endpoints one after the other, each once.
type sweep struct {
	write bool
	op    operation

	// reached is whether a request went out to any of them.
	reached  bool
	failures []*EndpointError
}

// over returns the endpoint that served the operation, or the error that
// settles it, or neither if the next list may be tried.
func (s *sweep) over(ctx context.Context, list []*endpoint) (*endpoint, error) {
	for i, e := range list {
		err, sent := s.attempt(ctx, e, i == len(list)-1)
		if err == nil {
			return e, nil
		}
		s.reached = s.reached || sent
		switch judge(err, s.write, sent) {
		case refused:
			return nil, &RefusedError{Endpoint: e.address, Write: s.write, Err: err}
		case unknown:
			return nil, &UnknownOutcomeError{Endpoint: e.address, Err: err}
		}
		s.failures = append(s.failures, &EndpointError{Endpoint: e.address, Err: err})
		if ctx.Err() != nil {
			return nil, &UnavailableError{Write: s.write, Endpoints: s.failures}
		}
	}
	return nil, nil
}

// attempt runs the operation once and tells whether anything was sent. A read
// that is not the last hope gets half of the time left, so that an endpoint
// which accepts requests and never answers cannot use it all up. A write gets
// all of it: cutting it short would only make its outcome unknown.
func (s *sweep) attempt(ctx context.Context, e *endpoint, last bool) (err error, sent bool) {
	if deadline, ok := ctx.Deadline(); ok && !s.write && !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	ctx, flag := withSendFlag(ctx)
	err = s.op(ctx, e)
	return err, flag.Load()
}
