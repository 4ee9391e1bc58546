package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// snapshotTrailerBytes is the checksum at the end of a snapshot, which servers do
// not count among the remaining bytes.
const snapshotTrailerBytes = 32

// Snapshot writes a snapshot of the store to w, from the first endpoint that
// begins to send one. progress, if not nil, is told what was written and what
// it is of. What breaks off behind the first bytes is not tried elsewhere: w has
// them already.
func (c *Client) Snapshot(ctx context.Context, w io.Writer, progress func(done, total int64)) (Answer, error) {
	var stream pb.Maintenance_SnapshotClient
	var first *pb.SnapshotResponse
	open, cancel := context.WithCancel(ctx)
	defer cancel()
	e, err := c.do(open, false, func(_ context.Context, e *endpoint) (err error) {
		// Not the context of the attempt: the stream outlives it.
		if stream, err = pb.NewMaintenanceClient(e.conn).Snapshot(open, &pb.SnapshotRequest{}); err == nil {
			first, err = stream.Recv()
		}
		return err
	})
	if err != nil {
		return Answer{}, err
	}
	total := int64(first.GetRemainingBytes()) + int64(len(first.GetBlob())) + snapshotTrailerBytes
	done := int64(0)
	for resp := first; ; {
		if _, err := w.Write(resp.GetBlob()); err != nil {
			return Answer{}, fmt.Errorf("write the snapshot: %w", err)
		}
		done += int64(len(resp.GetBlob()))
		if progress != nil {
			progress(done, total)
		}
		resp, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Answer{}, fmt.Errorf("the snapshot from %s broke off after %d of %d bytes: %w", e.address, done, total, err)
		}
	}
	if done != total {
		return Answer{}, fmt.Errorf("the snapshot from %s ended after %d of %d bytes", e.address, done, total)
	}
	return c.answer(e, nil), nil
}
