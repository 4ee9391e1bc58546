package peer

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/peer/peerpb"
)

// LeasesMax bounds the leases of one question.
const LeasesMax = 1024

// Leases answers what members ask the leader about leases. Calls may run at
// once; an error says that this member cannot answer, mostly because it does
// not lead.
type Leases interface {
	AnswerLeases(ctx context.Context, renew bool, ids []int64) ([]*peerpb.LeaseAnswer, error)
}

// AskLeases asks a member, as the leader, about up to LeasesMax leases, or to
// renew them. It answers each, in order, or none.
func (t *Transport) AskLeases(ctx context.Context, to uint64, renew bool, ids []int64) ([]*peerpb.LeaseAnswer, error) {
	if !t.enter() {
		return nil, fmt.Errorf("ask member %x about leases: %w", to, ErrClosed)
	}
	defer t.workers.Done()
	r := t.remote(to)
	if r == nil {
		return nil, fmt.Errorf("ask member %x about leases: %w", to, ErrUnknownPeer)
	}
	ctx, cancel := withEither(ctx, r.ctx)
	defer cancel()
	response, err := peerpb.NewPeerClient(r.urgent.conn).Leases(ctx, &peerpb.LeasesRequest{
		Hello: t.hello(to, peerpb.Lane_LANE_UNSPECIFIED), Renew: renew, Ids: ids,
	})
	if err == nil {
		err = t.checkAnswer(to, response.GetAnswer().GetHello(), response.GetAnswer().GetRefusal())
	}
	if err == nil && len(response.GetLeases()) != len(ids) {
		err = fmt.Errorf("%d answers to %d questions", len(response.GetLeases()), len(ids))
	}
	if err != nil {
		return nil, fmt.Errorf("ask member %x about leases: %w", to, err)
	}
	return response.GetLeases(), nil
}

// Leases implements the service.
func (s *service) Leases(ctx context.Context, request *peerpb.LeasesRequest) (*peerpb.LeasesResponse, error) {
	t := s.t
	if !t.enter() {
		return nil, status.Error(codes.Unavailable, ErrClosed.Error())
	}
	defer t.workers.Done()
	answer, ok := t.admit(request.GetHello())
	if !ok {
		return &peerpb.LeasesResponse{Answer: answer}, nil
	}
	switch {
	case t.opts.Leases == nil:
		return nil, status.Error(codes.Unimplemented, "this member does not look after leases")
	case len(request.GetIds()) > LeasesMax:
		return nil, status.Errorf(codes.InvalidArgument, "%d leases in one question, at most %d are allowed", len(request.GetIds()), LeasesMax)
	}
	ctx, cancel := withEither(ctx, t.ctx)
	defer cancel()
	leases, err := t.opts.Leases.AnswerLeases(ctx, request.GetRenew(), request.GetIds())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &peerpb.LeasesResponse{Answer: answer, Leases: leases}, nil
}
