package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
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
	link   atomic.Pointer[link] // nil while there is none

	oversized atomic.Bool // one was logged
	sent      laneCounters
}

func newLane(t *Transport, r *remote, kind peerpb.Lane, bytesMax int) *lane {
	return &lane{t: t, remote: r, kind: kind, queue: newQueue(t.opts.QueueMessagesMax, bytesMax)}
}

func (l *lane) connected() bool { return l.link.Load() != nil }

// put takes an item over, or drops it; flush sends it.
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

// flush sees to it that what was put is sent. It never waits.
func (l *lane) flush() {
	if k := l.link.Load(); k == nil || !k.trySend(l) {
		l.queue.wake()
	}
}

// lost ends a link on which something that had left the queue was lost.
func (l *lane) lost(k *link, err error) {
	k.fail(err)
	l.t.reports.unreachable(l.remote.id)
}

func (l *lane) peerField() zap.Field { return zap.String("peer", fmt.Sprintf("%x", l.remote.id)) }

// run keeps the lane connected until ctx ends.
func (l *lane) run(ctx context.Context) {
	pause := delays{base: l.t.opts.BackoffBase, max: l.t.opts.BackoffMax}
	for ctx.Err() == nil {
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
	l.queue.discard(true)
}

// broke tells everybody that a session has ended, or never began.
func (l *lane) broke(established bool, err error) {
	if !established {
		if l.queue.discard(true) > 0 {
			l.t.reports.unreachable(l.remote.id)
		}
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

// session uses one connection, from the handshake until it breaks.
func (l *lane) session(ctx context.Context) (established bool, err error) {
	k, err := l.connect(ctx)
	if err != nil {
		return false, err
	}
	var watching sync.WaitGroup
	watching.Go(func() { k.watch(keepaliveInterval + l.t.opts.KeepaliveTimeout) })
	defer watching.Wait()

	l.queue.open()
	l.link.Store(k)
	l.t.logger.Info("connected to peer", l.peerField(), zap.Stringer("lane", l.kind))
	if up := l.t.opts.Hooks.PeerUp; up != nil && l.kind == peerpb.Lane_LANE_URGENT {
		up(l.remote.id)
	}
	l.queue.wake() // for what was put before
	k.pump(ctx, l)
	l.link.Store(nil)
	if down := l.t.opts.Hooks.PeerDown; down != nil && l.kind == peerpb.Lane_LANE_URGENT && l.remote.ctx.Err() == nil {
		down(l.remote.id, k.reset())
	}
	return true, k.cause
}

// connect opens a connection, to the first of the member's addresses that takes
// it, and makes it a lane.
func (l *lane) connect(ctx context.Context) (*link, error) {
	conn, err := l.remote.endpoint.dial(ctx)
	if err != nil {
		return nil, err
	}
	k := newLink(conn)
	stop := context.AfterFunc(ctx, func() { k.fail(context.Cause(ctx)) })
	defer stop()
	answer, err := k.greet(l.t.hello(l.remote.id, l.kind), l.t.opts.HandshakeTimeout)
	if err == nil {
		err = l.t.checkAnswer(l.remote.id, answer.GetHello(), answer.GetRefusal())
	}
	if err != nil {
		k.fail(err)
		return nil, err
	}
	return k, nil
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
