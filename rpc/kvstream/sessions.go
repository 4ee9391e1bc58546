package kvstream

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// OpenSession opens a session for whoever calls.
func (s *Native) OpenSession(ctx context.Context, _ *kvpb.OpenSessionRequest) (*kvpb.OpenSessionResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	result, err := s.gate.ProposeSession(ctx, envelope.KindSessionOpen, nil)
	if err != nil {
		return nil, err
	}
	opened, ok := result.(*statemachine.SessionOpened)
	if !ok {
		return nil, status.Errorf(codes.Internal, "raftkv: the state machine answered with %T when a session was opened", result)
	}
	return &kvpb.OpenSessionResponse{
		ClusterId: s.backend.ClusterID(), MemberId: s.backend.MemberID(), SessionId: opened.ID,
		ExpiresAfterMs: uint64(s.backend.SessionTTL().Milliseconds()),
	}, nil
}

// CloseSession ends a session.
func (s *Native) CloseSession(ctx context.Context, r *kvpb.CloseSessionRequest) (*kvpb.CloseSessionResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if err := s.sameCluster(r.GetClusterId()); err != nil {
		return nil, err
	}
	if _, err := s.gate.ProposeSession(ctx, envelope.KindSessionClose, envelope.SessionClose{Session: r.GetSessionId()}.Encode()); err != nil {
		return nil, err
	}
	return &kvpb.CloseSessionResponse{}, nil
}

// sameCluster refuses a session that another cluster opened: its number may be
// that of a session here.
func (s *Native) sameCluster(id uint64) error {
	if own := s.backend.ClusterID(); id != 0 && id != own {
		return status.Errorf(codes.FailedPrecondition, "raftkv: session belongs to cluster %x, this is %x; open another", id, own)
	}
	return nil
}
