package etcdv3

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/rpc/feed"
	"raftkv/rpc/request"
)

// watch serves Watch to callers in process, as messages.
type watch struct {
	gate   *request.Gate
	source feed.Source
	// A new method of the service must not compile until it is served.
	pb.UnsafeWatchServer
}

// wireWatch serves Watch over gRPC: events go out as they were encoded once.
type wireWatch struct{ *watch }

// overWire is the service as it is registered with a gRPC server.
func overWire(s pb.WatchServer) pb.WatchServer {
	if w, ok := s.(*watch); ok {
		return wireWatch{w}
	}
	return s
}

// fragmentOverheadBytes is what etcd adds to the largest request for the largest
// fragment.
const fragmentOverheadBytes = 512 << 10

// Watch serves one stream of watches.
func (s *watch) Watch(stream pb.Watch_WatchServer) error {
	return s.serve(stream, func(m *feed.Message) error {
		resp, err := m.Response(s.header(m))
		if err != nil {
			return err
		}
		return stream.Send(resp)
	})
}

// Watch serves one stream of watches.
func (s wireWatch) Watch(stream pb.Watch_WatchServer) error {
	return s.serve(stream, func(m *feed.Message) error {
		return stream.SendMsg(m.Encode(s.header(m)))
	})
}

// header has the revision of the message, which is 0 where etcd's is.
func (s *watch) header(m *feed.Message) *pb.ResponseHeader {
	return s.gate.FillIdentity(&pb.ResponseHeader{Revision: m.Revision})
}

// serve runs a stream until its client or the member ends it. Reading and sending
// have goroutines of their own, since either may wait for the client; both end
// when the handler has returned.
func (s *watch) serve(stream pb.Watch_WatchServer, send func(*feed.Message) error) error {
	if err := s.gate.Admit(stream.Context(), request.VotersOnly); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	events := s.source.Open()
	defer events.Close()
	go func() {
		// A client that has said all still listens.
		if err := s.receive(ctx, stream, events); err != nil {
			end(err)
		}
	}()
	go func() { end(s.send(ctx, events, send)) }()
	<-ctx.Done()
	switch err := context.Cause(ctx); {
	case errors.Is(err, feed.ErrStopped):
		return rpctypes.ErrGRPCStopped
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCWatchCanceled
	default:
		return s.gate.ReadError(context.WithoutCancel(ctx), err)
	}
}

func (s *watch) send(ctx context.Context, events feed.Stream, send func(*feed.Message) error) error {
	for {
		m, err := events.Next(ctx)
		if err != nil {
			return err
		}
		if err := m.Fragments(s.gate.Config().RequestBytesMax+fragmentOverheadBytes, send); err != nil {
			return err
		}
	}
}

// receive takes requests until the client has no more.
func (s *watch) receive(ctx context.Context, stream pb.Watch_WatchServer, events feed.Stream) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := req.GetRequestUnion().(type) {
		case *pb.WatchRequest_CreateRequest:
			if r.CreateRequest != nil {
				err = s.create(ctx, r.CreateRequest, events)
			}
		case *pb.WatchRequest_CancelRequest:
			if r.CancelRequest != nil {
				err = events.Cancel(ctx, r.CancelRequest.GetWatchId())
			}
		case *pb.WatchRequest_ProgressRequest:
			events.RequestProgress()
		}
		// Anything else is ignored, as by etcd.
		if err != nil {
			return err
		}
	}
}

func (s *watch) create(ctx context.Context, r *pb.WatchCreateRequest, events feed.Stream) error {
	key, end := r.GetKey(), r.GetRangeEnd()
	if len(key) == 0 {
		key = []byte{0} // the smallest there is
	}
	if r.GetStartRevision() < 0 {
		return events.Refuse(ctx, rpctypes.ErrCompacted.Error())
	}
	if _, err := s.gate.Authorize(ctx, &pb.WatchCreateRequest{Key: key, RangeEnd: end}); err != nil {
		return events.Refuse(ctx, denial(err))
	}
	switch {
	case len(end) == 0:
		end = nil
	case len(end) == 1 && end[0] == 0:
		end = []byte{} // everything from key on
	}
	spec := feed.Spec{
		ID: r.GetWatchId(), Key: key, End: end, StartRevision: r.GetStartRevision(),
		PrevKV: r.GetPrevKv(), ProgressNotify: r.GetProgressNotify(), Fragment: r.GetFragment(),
	}
	for _, f := range r.GetFilters() {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			spec.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			spec.NoDelete = true
		}
	}
	return events.Create(ctx, spec)
}

// denial is the reason a creation is refused with; clients know these apart by
// their whole text.
func denial(err error) string {
	for _, known := range []error{rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision, rpctypes.ErrGRPCUserEmpty} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return rpctypes.ErrGRPCPermissionDenied.Error()
}
