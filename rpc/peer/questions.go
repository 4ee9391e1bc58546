package peer

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/peer/peerpb"
)

// Confirm asks a member whether it takes us for new. True: it saw no other data
// directory of this member than ours. False: it knows this member as started
// with another one. A member that refuses us answers with a *Refused.
func (t *Transport) Confirm(ctx context.Context, to uint64) (bool, error) {
	response, err := ask(ctx, t, to, "for confirmation",
		func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (*peerpb.ConfirmResponse, error) {
			return client.Confirm(ctx, &peerpb.ConfirmRequest{Hello: hello})
		})
	return response.GetConfirmed(), err
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
		if confirmed, err = t.opts.Membership.Confirm(callerOf(hello)); err != nil {
			refused = refuse(hello, reasonOf(err), "member %x: %v", hello.GetFrom(), err)
		}
	}
	return &peerpb.ConfirmResponse{Answer: t.answer(hello, refused), Confirmed: confirmed}, nil
}

// Holders asks the leader how many members hold the log up to index. Reply is
// called once, on another goroutine unless the transport is closed; it must not
// block.
func (t *Transport) Holders(to, index uint64, reply func(have, total int)) {
	question := func() { reply(0, 0) }
	if t.remote(to) != nil {
		select {
		case t.holdersSlots <- struct{}{}:
			question = func() {
				defer func() { <-t.holdersSlots }()
				reply(t.askHolders(to, index))
			}
		default:
			t.counters.holdersFailed.Add(1)
		}
	}
	if !t.spawn(question) {
		reply(0, 0)
	}
}

func (t *Transport) askHolders(to, index uint64) (have, total int) {
	ctx, cancel := context.WithTimeout(t.ctx, t.opts.HoldersTimeout)
	defer cancel()
	response, err := ask(ctx, t, to, "who holds the log",
		func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (*peerpb.HoldersResponse, error) {
			return client.Holders(ctx, &peerpb.HoldersRequest{Hello: hello, Index: index})
		})
	if err != nil {
		t.counters.holdersFailed.Add(1)
		return 0, 0
	}
	return int(response.GetHave()), int(response.GetTotal())
}

// Holders implements the service.
func (s *service) Holders(ctx context.Context, request *peerpb.HoldersRequest) (*peerpb.HoldersResponse, error) {
	begin := func(answer *peerpb.Answer) *peerpb.HoldersResponse { return &peerpb.HoldersResponse{Answer: answer} }
	return respond(ctx, s.t, request.GetHello(), begin, func(ctx context.Context, response *peerpb.HoldersResponse) error {
		select {
		case <-s.t.started:
		default:
			return status.Error(codes.Unavailable, "the member is starting")
		}
		ctx, cancel := context.WithTimeout(ctx, s.t.opts.HoldersWait)
		defer cancel()
		have, total, err := s.t.handler.Holders(ctx, request.GetIndex())
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		response.Have, response.Total = uint32(have), uint32(total)
		return nil
	})
}
