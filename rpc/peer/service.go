package peer

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"raftkv/rpc/peer/peerpb"
)

// service is the receiving half of a Transport.
type service struct {
	peerpb.UnimplementedPeerServer
	t *Transport
}

// inboundKey names what a member may have one of; snapshots have no lane.
type inboundKey struct {
	from uint64
	lane peerpb.Lane
}

// inbound is an incoming lane or snapshot.
type inbound struct {
	ended chan struct{} // closed by end
	once  sync.Once
	// handshake ends it unless it is stopped in time.
	handshake *time.Timer
}

func (t *Transport) newInbound() *inbound {
	in := &inbound{ended: make(chan struct{})}
	in.handshake = time.AfterFunc(t.opts.HandshakeTimeout, in.end)
	return in
}

func (in *inbound) end() { in.once.Do(func() { close(in.ended) }) }

// serve runs the work of a stream until it is done, ended or the transport
// closes. It runs beside gRPC's handler, which can thus return, and so end the
// work's blocking calls, at any time.
func (t *Transport) serve(work func(in *inbound) error) error {
	in := t.newInbound()
	defer in.handshake.Stop()
	done := make(chan error, 1)
	if !t.spawn(func() { done <- work(in) }) {
		return status.Error(codes.Unavailable, ErrClosed.Error())
	}
	select {
	case err := <-done:
		return err
	case <-in.ended:
		return status.Error(codes.Aborted, "the receiver ended the stream")
	case <-t.ctx.Done():
		return status.Error(codes.Unavailable, ErrClosed.Error())
	}
}

// establish makes in the one of its kind: an older one of the same member is a
// leftover of a broken connection. It waits for Start.
func (t *Transport) establish(ctx context.Context, key inboundKey, in *inbound) error {
	select {
	case <-t.started:
	case <-in.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	in.handshake.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.mu.inbound[key]; old != nil {
		old.end()
	}
	t.mu.inbound[key] = in
	return nil
}

func (t *Transport) disestablish(key inboundKey, in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.inbound[key] == in {
		delete(t.mu.inbound, key)
	}
}
