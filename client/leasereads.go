package client

import (
	"context"
	"time"

	"raftkv/rpc/kvstream/kvpb"
)

// SetLeaseReads lets leaders answer linearizable reads by leases, in the whole
// cluster, or not. It returns for how long voters are to promise a leader not to
// help another to win, 0 for off. It needs a server with the native service.
func (c *Client) SetLeaseReads(ctx context.Context, on bool) (promise time.Duration, err error) {
	_, err = c.do(ctx, true, func(ctx context.Context, e *endpoint) error {
		resp, err := kvpb.NewNativeClient(e.conn).SetLeaseReads(ctx, &kvpb.SetLeaseReadsRequest{On: on})
		promise = time.Duration(resp.GetLeasePromiseMs()) * time.Millisecond
		return err
	})
	return promise, err
}
