package kvload

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// watcher puts a key of its own and waits until it is told of it. The latency is
// that from before the put until the event is here. The watch goes to the next
// connection, which is another member's where there are several.
type watcher struct {
	client *client
	stream grpc.BidiStreamingClient[etcdserverpb.WatchRequest, etcdserverpb.WatchResponse]
	cancel context.CancelFunc
	key    []byte
}

func (w *watcher) next(ctx context.Context) (int, error) {
	if w.stream == nil {
		if err := w.open(ctx); err != nil {
			return 0, err
		}
	}
	resp, err := w.client.member().Put(ctx, &etcdserverpb.PutRequest{Key: w.key, Value: w.client.workload.pool.value(w.client.rng)})
	if err == nil {
		err = w.await(ctx, resp.GetHeader().GetRevision())
	}
	if err != nil {
		// What this put caused must not be taken for the next one's event.
		w.cancel()
		w.stream = nil
	}
	return 0, err
}

func (w *watcher) open(ctx context.Context) error {
	c := w.client
	w.key = fmt.Appendf(nil, "watch/%010d", c.id)
	conns := c.workload.conns.list
	conn := conns[(c.id+1)%len(conns)]
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	stream, err := etcdserverpb.NewWatchClient(conn).Watch(streamCtx)
	if err == nil {
		err = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
			CreateRequest: &etcdserverpb.WatchCreateRequest{Key: w.key},
		}})
	}
	if err == nil {
		var resp *etcdserverpb.WatchResponse
		if resp, err = stream.Recv(); err == nil && !resp.GetCreated() {
			err = fmt.Errorf("%w: a watch was not created", errWrongAnswer)
		}
	}
	if err != nil {
		cancel()
		return err
	}
	w.stream, w.cancel = stream, cancel
	return nil
}

// await waits for the event of a put.
func (w *watcher) await(ctx context.Context, revision int64) error {
	// The stream outlives the operation, so its time limit is held here.
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	for {
		resp, err := w.stream.Recv()
		if err != nil {
			return err
		}
		if resp.GetCanceled() {
			return fmt.Errorf("%w: the watch was cancelled: %s", errWrongAnswer, resp.GetCancelReason())
		}
		for _, event := range resp.GetEvents() {
			switch got := event.GetKv().GetModRevision(); {
			case got == revision:
				return nil
			case got > revision:
				return fmt.Errorf("%w: the event of revision %d came before that of %d", errWrongAnswer, got, revision)
			}
		}
	}
}
