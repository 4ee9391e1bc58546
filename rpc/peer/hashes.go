package peer

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/peer/peerpb"
)

// Hashes tells other members what this one's key space hashes to. Calls may run
// at once. The fields of the response but the answer are set. Errors are gRPC
// statuses, see the protocol.
type Hashes interface {
	AnswerHash(ctx context.Context, revision int64, response *peerpb.HashResponse) error
}

// AskHash asks a member for its hash of the key space at a revision. The error is a
// gRPC status.
func (t *Transport) AskHash(ctx context.Context, to uint64, revision int64) (*peerpb.HashResponse, error) {
	return ask(ctx, t, to, "for its hash of the key space",
		func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (*peerpb.HashResponse, error) {
			return client.Hash(ctx, &peerpb.HashRequest{Hello: hello, Revision: revision})
		})
}

// Hash implements the service.
func (s *service) Hash(ctx context.Context, request *peerpb.HashRequest) (*peerpb.HashResponse, error) {
	begin := func(answer *peerpb.Answer) *peerpb.HashResponse { return &peerpb.HashResponse{Answer: answer} }
	return respond(ctx, s.t, request.GetHello(), begin, func(ctx context.Context, response *peerpb.HashResponse) error {
		if s.t.opts.Hashes == nil {
			return status.Error(codes.Unimplemented, "this member tells no hashes")
		}
		return s.t.opts.Hashes.AnswerHash(ctx, request.GetRevision(), response)
	})
}
