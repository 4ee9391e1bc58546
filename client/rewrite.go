package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"raftkv/rpc/kvstream/kvpb"
)

// RewriteAt makes the member behind one endpoint, which need not be one of the
// configuration, write its files anew without what was deleted and compacted
// away, and waits for it. progress, if not nil, is told about once a second how
// far it is, and at the end. The member goes on serving meanwhile; when ctx ends
// it stops rewriting, which harms nothing.
func (c *Client) RewriteAt(ctx context.Context, address string, progress func(*kvpb.RewriteProgress)) (*kvpb.RewriteProgress, error) {
	e, done, err := c.at(address)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := kvpb.NewNativeClient(e.conn).Rewrite(ctx, &kvpb.RewriteRequest{})
	if err != nil {
		return nil, &EndpointError{Endpoint: e.address, Err: err}
	}
	for {
		p, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) { // before it was done
				err = fmt.Errorf("rewriting: %w", io.ErrUnexpectedEOF)
			}
			return nil, &EndpointError{Endpoint: e.address, Err: err}
		}
		if progress != nil {
			progress(p)
		}
		if p.GetDone() {
			return p, nil
		}
	}
}
