package peer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"raftkv/rpc/peer/peerpb"
)

// Reconfiguration is how others ask about the members and for changes of them.
type Reconfiguration interface {
	// Change changes the members on behalf of another member and returns the
	// log index at which the change was applied. It is a refusal unless this
	// member leads. Errors reach the other member as gRPC statuses.
	Change(ctx context.Context, change *peerpb.MemberChange) (index uint64, err error)
	// Cluster describes the cluster as this member has applied it.
	Cluster() (*peerpb.ClusterResponse, error)
}

// Change asks a member, which should lead, to change the members. The error is
// a gRPC status: the member's refusal, or Unavailable if nothing was sent. Any
// other failure leaves the outcome open.
func (t *Transport) Change(ctx context.Context, to uint64, change *peerpb.MemberChange) (index uint64, err error) {
	response, err := ask(ctx, t, to, "for a change of the members",
		func(ctx context.Context, client peerpb.PeerClient, hello *peerpb.Hello) (*peerpb.ChangeResponse, error) {
			return client.Change(ctx, &peerpb.ChangeRequest{Hello: hello, Change: change})
		})
	var refused *Refused
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, ErrUnknownPeer), errors.As(err, &refused):
		return 0, status.Error(codes.Unavailable, err.Error())
	case err != nil:
		return 0, err
	case response.GetIndex() == 0:
		return 0, status.Error(codes.Code(response.GetCode()), response.GetText())
	}
	return response.GetIndex(), nil
}

// Change implements the service.
func (s *service) Change(ctx context.Context, request *peerpb.ChangeRequest) (*peerpb.ChangeResponse, error) {
	begin := func(answer *peerpb.Answer) *peerpb.ChangeResponse { return &peerpb.ChangeResponse{Answer: answer} }
	return respond(ctx, s.t, request.GetHello(), begin, func(ctx context.Context, response *peerpb.ChangeResponse) error {
		if s.t.opts.Reconfiguration == nil {
			return status.Error(codes.Unimplemented, "this member changes no members")
		}
		index, err := s.t.opts.Reconfiguration.Change(ctx, request.GetChange())
		if err != nil {
			refusal := status.Convert(err)
			response.Code, response.Text = uint32(refusal.Code()), refusal.Message()
			return nil
		}
		response.Index = index
		return nil
	})
}

// Cluster implements the service. It asks no hello: who wants to become a member
// is none yet. What it tells, etcd tells everybody at its peer URLs, too.
func (s *service) Cluster(context.Context, *peerpb.ClusterRequest) (*peerpb.ClusterResponse, error) {
	if s.t.opts.Reconfiguration == nil {
		return nil, status.Error(codes.Unimplemented, "this member describes no cluster")
	}
	response, err := s.t.opts.Reconfiguration.Cluster()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return response, nil
}

// AskCluster asks whoever serves peers at address, host:port, to describe its
// cluster. Nil credentials: plain text.
func AskCluster(ctx context.Context, address string, secured credentials.TransportCredentials) (*peerpb.ClusterResponse, error) {
	if secured == nil {
		secured = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secured))
	if err != nil {
		return nil, fmt.Errorf("ask %s about its cluster: %w", address, err)
	}
	defer func() { _ = conn.Close() }() // it only says that it was closed before
	response, err := peerpb.NewPeerClient(conn).Cluster(ctx, &peerpb.ClusterRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask %s about its cluster: %w", address, err)
	}
	return response, nil
}
