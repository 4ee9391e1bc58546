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
	response, err := ask(ctx, t, to, "about leases",
		func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (*peerpb.LeasesResponse, error) {
			return client.Leases(ctx, &peerpb.LeasesRequest{Hello: hello, Renew: renew, Ids: ids})
		})
	if err != nil {
		return nil, err
	}
	if len(response.GetLeases()) != len(ids) {
		return nil, fmt.Errorf("ask member %x about leases: %d answers to %d questions", to, len(response.GetLeases()), len(ids))
	}
	return response.GetLeases(), nil
}

// Leases implements the service.
func (s *service) Leases(ctx context.Context, request *peerpb.LeasesRequest) (*peerpb.LeasesResponse, error) {
	begin := func(answer *peerpb.Answer) *peerpb.LeasesResponse { return &peerpb.LeasesResponse{Answer: answer} }
	return respond(ctx, s.t, request.GetHello(), begin, func(ctx context.Context, response *peerpb.LeasesResponse) error {
		switch {
		case s.t.opts.Leases == nil:
			return status.Error(codes.Unimplemented, "this member does not look after leases")
		case len(request.GetIds()) > LeasesMax:
			return status.Errorf(codes.InvalidArgument, "%d leases in one question, at most %d are allowed", len(request.GetIds()), LeasesMax)
		}
		leases, err := s.t.opts.Leases.AnswerLeases(ctx, request.GetRenew(), request.GetIds())
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		response.Leases = leases
		return nil
	})
}
