package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// WatchRequest says what to watch.
type WatchRequest struct {
	// Key and RangeEnd have etcd's meaning.
	Key, RangeEnd []byte
	// Revision is that of the first event wanted; 0: what comes next.
	Revision int64
	// PrevKV adds the version before each change.
	PrevKV bool
	// NoPut and NoDelete leave such events out.
	NoPut, NoDelete bool
	// Progress asks for an Update without events now and then while there are
	// none.
	Progress bool
	// Fragment lets the server divide large updates; they are put together again.
	Fragment bool
}

// Update is what a watch tells: the events of whole revisions, in order; none if
// it only tells of progress.
type Update struct {
	Answer
	Events []*mvccpb.Event
}

// CompactedError ends a watch whose next revision is compacted.
type CompactedError struct {
	// Revision is the oldest that can still be watched.
	Revision int64
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("watch: the revision to go on from has been compacted; the oldest that can be watched is %d", e.Revision)
}

// CancelledError ends a watch that the server has refused or cancelled.
type CancelledError struct{ Reason string }

func (e *CancelledError) Error() string { return "watch: cancelled by the server: " + e.Reason }

// Watch calls update with what happens to keys until ctx ends, update returns an
// error, or the watch cannot go on; that is what it returns.
//
// When a connection breaks or a member loses its leader, it goes on at another
// endpoint where it was: every event is told once and in order. If no endpoint
// serves it for several seconds, it ends with an UnavailableError.
func (c *Client) Watch(ctx context.Context, req WatchRequest, update func(Update) error) error {
	w := &watching{client: c, request: req, update: update, next: req.Revision}
	for {
		began := w.messages
		_, err := c.do(ctx, false, w.attempt)
		switch {
		case w.end != nil:
			return w.end
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && w.messages == began:
			return err
		}
	}
}

// watching is a watch under way, across endpoints.
type watching struct {
	client  *Client
	request WatchRequest
	update  func(Update) error
	// next is the first revision not told of yet; 0 until it is known.
	next     int64
	messages int
	pieces   []*mvccpb.Event // of an update that is not complete
	end      error           // why the watch ends for good
}

// attempt watches at one endpoint until that ends. An error lets the next one go
// on; nil ends the round, so that the endpoints are tried from the first again.
func (w *watching) attempt(ctx context.Context, e *endpoint) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A member that is cut off from the others ends the stream.
	ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	stream, err := pb.NewWatchClient(e.conn).Watch(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(w.creation()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w.pieces = nil
	told := w.messages
	for {
		resp, err := stream.Recv()
		if err == nil {
			err = w.take(e, resp)
		}
		switch {
		case w.end != nil:
			return nil
		case err != nil && w.messages > told && ctx.Err() == nil:
			// It did serve: that was not a failure to find an endpoint.
			return w.client.pause(ctx, pauseMin)
		case err != nil && errors.Is(err, io.EOF):
			return status.Error(codes.Unavailable, "the stream has ended")
		case err != nil:
			return err
		}
	}
}

func (w *watching) creation() *pb.WatchRequest {
	r := &pb.WatchCreateRequest{
		Key: w.request.Key, RangeEnd: w.request.RangeEnd, StartRevision: w.next,
		PrevKv: w.request.PrevKV, ProgressNotify: w.request.Progress, Fragment: w.request.Fragment,
	}
	if w.request.NoPut {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NOPUT)
	}
	if w.request.NoDelete {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NODELETE)
	}
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// take handles one response.
func (w *watching) take(e *endpoint, resp *pb.WatchResponse) error {
	switch {
	case resp.GetCompactRevision() != 0:
		w.end = &CompactedError{Revision: resp.GetCompactRevision()}
		return nil
	case resp.GetCanceled():
		w.end = &CancelledError{Reason: resp.GetCancelReason()}
		return nil
	}
	w.messages++
	if resp.GetCreated() {
		if w.next == 0 {
			// A watch from now on: this is its beginning, wherever it goes on.
			w.next = resp.GetHeader().GetRevision() + 1
		}
		return nil
	}
	w.pieces = append(w.pieces, resp.GetEvents()...)
	if resp.GetFragment() {
		return nil
	}
	events := w.pieces
	w.pieces = nil
	if n := len(events); n > 0 {
		w.next = events[n-1].GetKv().GetModRevision() + 1
	} else {
		w.next = max(w.next, resp.GetHeader().GetRevision()+1)
	}
	if err := w.update(Update{Answer: w.client.answer(e, resp.GetHeader()), Events: events}); err != nil {
		w.end = err
	}
	return nil
}
