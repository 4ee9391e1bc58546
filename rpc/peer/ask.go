package peer

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/peer/peerpb"
)

// answered is a response that says first whether the caller is taken for a
// member.
type answered interface{ GetAnswer() *peerpb.Answer }

// ask puts one question to a member; what completes "ask member 1 …". A member
// that refuses us, or that we refuse, is a *Refused; ErrClosed and
// ErrUnknownPeer say that nothing was sent. call's errors are gRPC statuses.
func ask[R answered](ctx context.Context, t *Transport, to uint64, what string,
	call func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (R, error)) (R, error) {
	response, err := askOnce(ctx, t, to, call)
	if err != nil {
		return response, fmt.Errorf("ask member %x %s: %w", to, what, err)
	}
	return response, nil
}

func askOnce[R answered](ctx context.Context, t *Transport, to uint64,
	call func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (R, error)) (none R, err error) {
	if !t.enter() {
		return none, ErrClosed
	}
	defer t.workers.Done()
	r := t.remote(to)
	if r == nil {
		return none, ErrUnknownPeer
	}
	ctx, cancel := withEither(ctx, r.ctx)
	defer cancel()
	response, err := call(ctx, peerpb.NewPeerClient(r.questions), t.hello(to, peerpb.Lane_LANE_UNSPECIFIED))
	if err != nil {
		return none, err
	}
	if err := t.checkAnswer(to, response.GetAnswer().GetHello(), response.GetAnswer().GetRefusal()); err != nil {
		return none, err
	}
	return response, nil
}

// respond answers a question of a member: begin makes the response, which is
// all a caller gets that is refused, and work completes it for the others.
// work's errors are gRPC statuses; its context ends with the transport, too.
func respond[R any](ctx context.Context, t *Transport, hello *peerpb.Hello,
	begin func(*peerpb.Answer) R, work func(ctx context.Context, response R) error) (none R, err error) {
	if !t.enter() {
		return none, status.Error(codes.Unavailable, ErrClosed.Error())
	}
	defer t.workers.Done()
	answer, ok := t.admit(hello)
	response := begin(answer)
	if !ok {
		return response, nil
	}
	ctx, cancel := withEither(ctx, t.ctx)
	defer cancel()
	if err := work(ctx, response); err != nil {
		return none, err
	}
	return response, nil
}

// withEither returns a context that ends with either of two.
func withEither(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}
