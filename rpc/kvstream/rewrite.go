package kvstream

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
)

// progressInterval is how often a rewrite says how far it is.
const progressInterval = time.Second

// Rewrite writes the files of this member anew. It needs the right to
// defragment, and ends early when the caller goes away.
func (s *Native) Rewrite(_ *kvpb.RewriteRequest, stream grpc.ServerStreamingServer[kvpb.RewriteProgress]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	if err := s.gate.Admit(ctx, request.LearnersToo); err != nil {
		return err
	}
	if _, err := s.gate.Authorize(ctx, &pb.DefragmentRequest{}); err != nil {
		return err
	}
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	progress := &kvpb.RewriteProgress{
		ClusterId: s.backend.ClusterID(), MemberId: s.backend.MemberID(),
		BeforeBytes: s.backend.MemberStatus().GetDbSizeBytes(),
	}
	over := make(chan error, 1)
	go func() { over <- s.backend.Rewrite(ctx) }()
	for {
		select {
		case err := <-over:
			if err != nil {
				return s.gate.ReadError(ctx, err)
			}
			progress.Done = true
			progress.NowBytes = s.backend.MemberStatus().GetDbSizeBytes()
			return stream.Send(progress)
		case <-ticker.C:
			progress.NowBytes = s.backend.MemberStatus().GetDbSizeBytes()
			if stream.Send(progress) != nil { // the caller has gone
				ticker.Stop()
				cancel()
			}
		}
	}
}
