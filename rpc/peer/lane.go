package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"raftkv/rpc/peer/peerpb"
)

// lane sends one kind of traffic to one member.
//
// Its queue is open from the start and until a connection attempt fails, so
// that the first messages of a member's life are not lost; then it is closed
// until a session is established.
type lane struct {
	t      *Transport
	remote *remote
	kind   peerpb.Lane
	queue  *queue
	conn   *grpc.ClientConn
	resets atomic.Uint64

	connected atomic.Bool
	oversized atomic.Bool // one was logged
	sent      laneCounters
}

func newLane(t *Transport, r *remote, kind peerpb.Lane, bytesMax int) (*lane, error) {
	l := &lane{t: t, remote: r, kind: kind, queue: newQueue(t.opts.QueueMessagesMax, bytesMax)}
	var err error
	if l.conn, err = r.endpoint.connect(&l.resets); err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	return l, nil
}

func (l *lane) closeConn() {
	if err := l.conn.Close(); err != nil {
		l.t.logger.Warn("cannot close a peer connection", zap.Error(err))
	}
}

func (l *lane) put(i item) {
	if l.queue.put(i) {
		return
	}
	l.t.reports.unreachable(l.remote.id)
	if i.sizeBytes > MaxFrameBytes-frameOverheadBytes && !l.oversized.Swap(true) {
		l.t.logger.Error("a message is too large for the peer protocol and can never be sent",
			l.peerField(), zap.Int("bytes", i.sizeBytes), zap.Int("bytes-max", MaxFrameBytes))
	}
}

func (l *lane) peerField() zap.Field { return zap.String("peer", fmt.Sprintf("%x", l.remote.id)) }

// run keeps the lane connected until ctx ends.
func (l *lane) run(ctx context.Context) {
	defer l.closeConn()
	pause := delays{base: l.t.opts.BackoffBase, max: l.t.opts.BackoffMax}
	for l.awaitConn(ctx) {
		began := time.Now()
		established, err := l.session(ctx)
		if ctx.Err() != nil {
			break
		}
		// A session that breaks at once is no reason to hurry.
		if established && time.Since(began) > l.t.opts.BackoffMax {
			pause.reset()
		}
		l.broke(established, err)
		select {
		case <-time.After(pause.next()):
		case <-ctx.Done():
		}
	}
	l.connected.Store(false)
	l.queue.discard(true)
}

// awaitConn waits for a connection; gRPC makes the attempts and the pauses
// between them. False: ctx ended.
func (l *lane) awaitConn(ctx context.Context) bool {
	for {
		state := l.conn.GetState()
		switch state {
		case connectivity.Ready:
			return true
		case connectivity.Idle:
			l.conn.Connect()
		case connectivity.TransientFailure:
			l.drop(true)
		case connectivity.Shutdown:
			return false
		}
		if !l.conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// drop gives up what is queued.
func (l *lane) drop(closed bool) {
	if l.queue.discard(closed) > 0 {
		l.t.reports.unreachable(l.remote.id)
	}
}

// broke tells everybody that a session has ended, or never began.
func (l *lane) broke(established bool, err error) {
	if !established {
		l.drop(true)
		var refused *Refused
		if !errors.As(err, &refused) {
			l.t.logger.Debug("peer handshake failed", l.peerField(), zap.Stringer("lane", l.kind), zap.Error(err))
		}
		return
	}
	l.queue.discard(false)
	l.t.reports.unreachable(l.remote.id)
	l.t.logger.Info("lost peer connection", l.peerField(), zap.Stringer("lane", l.kind), zap.Error(err))
}

// session runs one stream, from the handshake until it breaks.
func (l *lane) session(ctx context.Context) (established bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resets := l.resets.Load()
	stream, err := l.handshake(ctx, cancel)
	if err != nil {
		return false, err
	}

	broken := make(chan error, 1)
	go func() { // ends with ctx at the latest; waited for below
		_, err := stream.Recv()
		if err == nil {
			err = errors.New("the peer sent something after the handshake")
			cancel()
		}
		broken <- err
	}()

	l.queue.open()
	l.connected.Store(true)
	l.t.logger.Info("connected to peer", l.peerField(), zap.Stringer("lane", l.kind))
	if up := l.t.opts.Hooks.PeerUp; up != nil && l.kind == peerpb.Lane_LANE_URGENT {
		up(l.remote.id)
	}
	err = l.sendFrames(stream, broken)
	l.connected.Store(false)
	if down := l.t.opts.Hooks.PeerDown; down != nil && l.kind == peerpb.Lane_LANE_URGENT && l.remote.ctx.Err() == nil {
		down(l.remote.id, l.resets.Load() != resets)
	}
	cancel()
	if streamErr := <-broken; err == nil || errors.Is(err, io.EOF) {
		err = streamErr
	}
	return true, err
}

type frameStream = grpc.BidiStreamingClient[peerpb.Frame, peerpb.Answer]

func (l *lane) handshake(ctx context.Context, cancel context.CancelFunc) (frameStream, error) {
	timeout := time.AfterFunc(l.t.opts.HandshakeTimeout, cancel)
	defer timeout.Stop()
	stream, err := peerpb.NewPeerClient(l.conn).Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	// An error of Send is io.EOF; Recv knows the cause.
	if err := stream.Send(&peerpb.Frame{Hello: l.t.hello(l.remote.id, l.kind)}); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("send hello: %w", err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("await answer to hello: %w", err)
	}
	return stream, l.t.checkAnswer(l.remote.id, answer.GetHello(), answer.GetRefusal())
}

// sendFrames sends what is queued, as much as there is at a time, until the
// stream breaks. A nil error says that broken knows why; it is left filled.
func (l *lane) sendFrames(stream frameStream, broken chan error) error {
	for {
		frame, bytes := l.queue.take(l.t.opts.FrameBytes)
		if frame == nil {
			select {
			case <-l.queue.ready:
				continue
			case err := <-broken:
				broken <- err
				return nil
			}
		}
		if err := stream.Send(frame); err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
		l.sent.frames.Add(1)
		l.sent.bytes.Add(uint64(bytes))
		l.sent.messages.Add(uint64(len(frame.GetMessages()) + len(frame.GetBatches())))
	}
}

// delays are the pauses between attempts: doubling, and spread over half their
// length so that members do not fall into step.
type delays struct {
	base, max time.Duration
	attempt   int
}

func (d *delays) reset() { d.attempt = 0 }

func (d *delays) next() time.Duration {
	pause := d.max
	if shifted := d.base << d.attempt; shifted < d.max {
		pause = shifted
		d.attempt++
	}
	return pause/2 + rand.N(pause/2+1)
}
