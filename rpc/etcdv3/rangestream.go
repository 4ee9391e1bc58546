package etcdv3

import (
	"context"
	"errors"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/request"
	"raftkv/statemachine"
)

// firstChunkKeys is small because nothing is known yet about the size of the
// values; later chunks adapt.
const firstChunkKeys = 16

// RangeStream answers a range in chunks. All are read at the revision of the
// first; header, more and count come with the last, as in etcd.
func (s *kv) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	ctx := stream.Context()
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return err
	}
	if err := request.CheckRangeStream(r); err != nil {
		return err
	}
	if err := s.streamBarrier(ctx, r); err != nil {
		return err
	}
	if r.GetCountOnly() {
		return s.streamCount(ctx, r, stream)
	}
	return s.streamChunks(ctx, r, stream)
}

// streamBarrier bounds the barrier alone: how long the stream takes is up to
// its reader.
func (s *kv) streamBarrier(ctx context.Context, r *pb.RangeRequest) error {
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	return s.gate.Barrier(ctx, r, r.GetSerializable())
}

func (s *kv) streamCount(ctx context.Context, r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	resp, err := s.backend.Range(ctx, r)
	if err != nil {
		return s.gate.ReadError(ctx, err)
	}
	return sendChunk(stream, &pb.RangeResponse{
		Header: s.gate.FillIdentity(&pb.ResponseHeader{Revision: resp.GetHeader().GetRevision()}),
		Count:  resp.GetCount(),
	})
}

func (s *kv) streamChunks(ctx context.Context, r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	left := r.GetLimit()
	if left <= 0 {
		left = math.MaxInt64
	}
	var revision, total int64
	chunkKeys := int64(firstChunkKeys)
	if r.GetSortTarget() != pb.RangeRequest_KEY {
		// A target is sorted by even without an order, and the next chunk could
		// not begin behind the last key of a sorted one. etcd 3.7 does so all the
		// same, and repeats and omits keys.
		chunkKeys = left
	}
	page := proto.Clone(r).(*pb.RangeRequest)
	for first := true; ; first = false {
		page.Limit = min(chunkKeys, left)
		resp, err := s.rangeChunk(ctx, page)
		if err != nil {
			return s.gate.ReadError(ctx, err)
		}
		if first {
			revision, total = resp.GetHeader().GetRevision(), resp.GetCount()
			if page.Revision <= 0 {
				page.Revision = revision
			}
		}
		kvs := resp.GetKvs()
		left -= int64(len(kvs))
		if !resp.GetMore() || left == 0 || len(kvs) == 0 {
			return sendChunk(stream, &pb.RangeResponse{
				Header: s.gate.FillIdentity(&pb.ResponseHeader{Revision: revision}),
				Kvs:    kvs, More: resp.GetMore(), Count: total,
			})
		}
		if err := sendChunk(stream, &pb.RangeResponse{Kvs: kvs}); err != nil {
			return err
		}
		page.Key = append(append([]byte(nil), kvs[len(kvs)-1].GetKey()...), 0)
		chunkKeys = nextChunkKeys(int64(len(kvs)), int64(proto.Size(resp)), int64(s.gate.Config().RequestBytesMax))
	}
}

// rangeChunk reads a page of as many keys as fit into a response, at most
// page.Limit, which it lowers. A range that has to be sorted is read at once or
// not at all.
func (s *kv) rangeChunk(ctx context.Context, page *pb.RangeRequest) (*pb.RangeResponse, error) {
	for {
		resp, err := s.backend.Range(ctx, page)
		tooLarge := errors.Is(err, statemachine.ErrResponseTooLarge)
		if !tooLarge || page.Limit <= 1 || page.GetSortTarget() != pb.RangeRequest_KEY {
			return resp, err
		}
		page.Limit /= 2
	}
}

// nextChunkKeys aims at chunks of target bytes, judging by the last chunk, and
// at most doubles, because the next values may be larger.
func nextChunkKeys(keys, bytes, target int64) int64 {
	fitting := target / max(bytes/keys, 1)
	return max(1, min(fitting, 2*keys))
}

func sendChunk(stream grpc.ServerStreamingServer[pb.RangeStreamResponse], resp *pb.RangeResponse) error {
	// Send's error is a gRPC status already: the connection's.
	return stream.Send(&pb.RangeStreamResponse{RangeResponse: resp})
}
