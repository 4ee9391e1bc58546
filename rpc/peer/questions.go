package peer

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"raftkv/rpc/peer/peerpb"
)

// Confirm asks a member whether it takes us for new. True: it saw no other data
// directory of this member than ours. False: it knows this member as started
// with another one. A member that refuses us answers with a *Refused.
func (t *Transport) Confirm(ctx context.Context, to uint64) (bool, error) {
	if !t.enter() {
		return false, fmt.Errorf("ask member %x for confirmation: %w", to, ErrClosed)
	}
	defer t.workers.Done()
	r := t.remote(to)
	if r == nil {
		return false, fmt.Errorf("ask member %x for confirmation: %w", to, ErrUnknownPeer)
	}
	ctx, cancel := withEither(ctx, r.ctx)
	defer cancel()
	response, err := peerpb.NewPeerClient(r.urgent.conn).Confirm(ctx, &peerpb.ConfirmRequest{Hello: t.hello(to, peerpb.Lane_LANE_UNSPECIFIED)})
	if err == nil {
		err = t.checkAnswer(to, response.GetAnswer().GetHello(), response.GetAnswer().GetRefusal())
	}
	if err != nil {
		return false, fmt.Errorf("ask member %x for confirmation: %w", to, err)
	}
	return response.GetConfirmed(), nil
}

// Confirm implements the service. Who asks has perhaps another incarnation than
// the one known, so Membership.Confirm takes the place of its Check.
func (s *service) Confirm(_ context.Context, request *peerpb.ConfirmRequest) (*peerpb.ConfirmResponse, error) {
	t := s.t
	if !t.enter() {
		return nil, status.Error(codes.Unavailable, ErrClosed.Error())
	}
	defer t.workers.Done()
	hello := request.GetHello()
	refused, confirmed := t.checkIdentity(hello), false
	if refused == nil {
		var err error
		if confirmed, err = t.opts.Membership.Confirm(hello.GetFrom(), hello.GetIncarnation()); err != nil {
			refused = refuse(hello, reasonOf(err), "member %x: %v", hello.GetFrom(), err)
		}
	}
	return &peerpb.ConfirmResponse{Answer: t.answer(hello, refused), Confirmed: confirmed}, nil
}

// Holders asks the leader how many members hold the log up to index. Reply is
// called once, on another goroutine unless the transport is closed; it must not
// block.
func (t *Transport) Holders(to, index uint64, reply func(have, total int)) {
	ask := func() { reply(0, 0) }
	if r := t.remote(to); r != nil {
		select {
		case t.holdersSlots <- struct{}{}:
			ask = func() {
				defer func() { <-t.holdersSlots }()
				reply(t.askHolders(r, index))
			}
		default:
			t.counters.holdersFailed.Add(1)
		}
	}
	if !t.spawn(ask) {
		reply(0, 0)
	}
}

func (t *Transport) askHolders(r *remote, index uint64) (have, total int) {
	ctx, cancel := context.WithTimeout(r.ctx, t.opts.HoldersTimeout)
	defer cancel()
	response, err := peerpb.NewPeerClient(r.urgent.conn).Holders(ctx, &peerpb.HoldersRequest{
		Hello: t.hello(r.id, peerpb.Lane_LANE_UNSPECIFIED), Index: index,
	})
	if err == nil {
		err = t.checkAnswer(r.id, response.GetAnswer().GetHello(), response.GetAnswer().GetRefusal())
	}
	if err != nil {
		t.counters.holdersFailed.Add(1)
		return 0, 0
	}
	return int(response.GetHave()), int(response.GetTotal())
}

// Holders implements the service.
func (s *service) Holders(ctx context.Context, request *peerpb.HoldersRequest) (*peerpb.HoldersResponse, error) {
	t := s.t
	if !t.enter() {
		return nil, status.Error(codes.Unavailable, ErrClosed.Error())
	}
	defer t.workers.Done()
	answer, ok := t.admit(request.GetHello())
	if !ok {
		return &peerpb.HoldersResponse{Answer: answer}, nil
	}
	select {
	case <-t.started:
	default:
		return nil, status.Error(codes.Unavailable, "the member is starting")
	}
	ctx, cancel := withEither(ctx, t.ctx)
	defer cancel()
	ctx, cancelWait := context.WithTimeout(ctx, t.opts.HoldersWait)
	defer cancelWait()
	have, total, err := t.handler.Holders(ctx, request.GetIndex())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &peerpb.HoldersResponse{Answer: answer, Have: uint32(have), Total: uint32(total)}, nil
}

// withEither returns a context that ends with either of two.
func withEither(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}
