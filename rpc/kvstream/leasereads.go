package kvstream

import (
	"context"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
	"raftkv/statemachine/envelope"
)

// SetLeaseReads switches lease reads on or off.
func (s *Native) SetLeaseReads(ctx context.Context, r *kvpb.SetLeaseReadsRequest) (*kvpb.SetLeaseReadsResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	var reads envelope.LeaseReads
	if r.GetOn() {
		reads.PromiseMS = uint64(s.backend.LeasePromise().Milliseconds())
	}
	if _, err := s.gate.ProposeAdmin(ctx, envelope.KindLeaseReads, reads.Encode()); err != nil {
		return nil, err
	}
	return &kvpb.SetLeaseReadsResponse{
		ClusterId: s.backend.ClusterID(), MemberId: s.backend.MemberID(), LeasePromiseMs: reads.PromiseMS,
	}, nil
}
