package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
)

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = 400 * time.Millisecond
	// moveInterval is how often a lane may look for a better member because
	// another leads than the one it uses.
	moveInterval = 2 * time.Second
)

// run keeps the lane going until ctx ends.
func (l *lane) run(ctx context.Context) {
	for l.awaitWork(ctx) {
		err := l.connected(ctx)
		l.mu.Lock()
		l.mu.trouble = err
		l.mu.Unlock()
		if err == nil {
			l.backoff = 0
			continue
		}
		l.backoff = min(max(2*l.backoff, backoffMin), backoffMax)
		if l.client.pause(ctx, l.backoff) != nil {
			break
		}
	}
	l.end()
}

// awaitWork waits for something to send.
func (l *lane) awaitWork(ctx context.Context) bool {
	for {
		l.mu.Lock()
		work := len(l.mu.inflight) > 0 || len(l.mu.queue) > l.mu.abandoned
		l.mu.Unlock()
		if work {
			return ctx.Err() == nil
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// end answers everything that waits.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, f := range l.mu.inflight {
		for _, c := range f.calls {
			l.finishUnknown(c, ErrSessionClosed)
		}
	}
	for _, c := range l.mu.queue {
		if !c.abandoned {
			l.finish(c, l.notApplied(ErrSessionClosed))
		}
	}
	l.mu.inflight, l.mu.queue = nil, nil
}

// finishUnknown answers a call that was sent and may have been applied.
func (l *lane) finishUnknown(c *call, reason error) {
	if l.kind != laneWrites {
		l.finish(c, l.notApplied(reason))
		return
	}
	l.finish(c, &UnknownOutcomeError{Endpoint: "the cluster", Err: reason})
}

// connected finds a member and serves the lane through it until that fails, or
// another one is better: then the error is nil.
func (l *lane) connected(ctx context.Context) error {
	e, err := l.choose(ctx)
	if err != nil {
		return err
	}
	l.current = e
	if l.kind == laneWrites && l.session.id == 0 {
		if err := l.open(ctx, e); err != nil {
			l.avoid = e
			return &EndpointError{Endpoint: e.address, Err: err}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := kvpb.NewNativeClient(e.conn).Frames(ctx)
	if err != nil {
		l.avoid = e
		return &EndpointError{Endpoint: e.address, Err: err}
	}
	l.mu.Lock()
	l.mu.broken, l.mu.moving = nil, false
	l.mu.Unlock()
	var receiving sync.WaitGroup
	receiving.Go(func() { l.receive(stream, e) })
	err = l.send(ctx, stream)
	cancel()
	receiving.Wait()
	l.avoid = nil
	if err == nil {
		return nil
	}
	if !stays(err) {
		l.avoid = e
	}
	if status.Code(err) == codes.Unimplemented {
		l.refuseQueue(e, err)
	}
	return &EndpointError{Endpoint: e.address, Err: err}
}

// open opens the session.
func (l *lane) open(ctx context.Context, e *endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.StallTimeout)
	defer cancel()
	opened, err := kvpb.NewNativeClient(e.conn).OpenSession(ctx, &kvpb.OpenSessionRequest{})
	if err != nil {
		if code := status.Code(err); code == codes.Unimplemented || code == codes.PermissionDenied || code == codes.Unauthenticated {
			l.refuseQueue(e, err)
		}
		return err
	}
	l.session.cluster, l.session.id = opened.GetClusterId(), opened.GetSessionId()
	return nil
}

// refuseQueue answers what waits: no member would take it.
func (l *lane) refuseQueue(e *endpoint, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := slices.DeleteFunc(l.mu.queue, func(c *call) bool { return c.abandoned })
	for _, f := range l.mu.inflight {
		if l.kind != laneWrites { // writes may have been taken by another member
			waiting = append(waiting, f.calls...)
		}
	}
	for _, c := range waiting {
		l.finish(c, &RefusedError{Endpoint: e.address, Write: l.kind == laneWrites, Err: err})
	}
	l.mu.queue, l.mu.abandoned = nil, 0
	if l.kind != laneWrites {
		l.mu.inflight = nil
	}
}

// send sends what was not answered again, and then what waits, until the stream
// breaks or the lane is to move on.
func (l *lane) send(ctx context.Context, stream kvpb.Native_FramesClient) error {
	l.mu.Lock()
	again := slices.Clone(l.mu.inflight)
	l.mu.Unlock()
	for _, f := range again {
		if err := l.put(stream, f); err != nil {
			return err
		}
	}
	stall := time.NewTimer(l.cfg.StallTimeout)
	defer stall.Stop()
	for {
		f, wait, err := l.next()
		if err != nil || f == nil && wait == 0 {
			return err
		}
		if f != nil {
			if err := l.put(stream, f); err != nil {
				return err
			}
			continue
		}
		stall.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-stall.C:
		}
	}
}

// errStalled: a member holds frames and does not answer.
var errStalled = errors.New("the member does not answer")

// idle is how long a lane without anything to do waits for a signal.
const idle = time.Hour

// next returns the next frame to send, or how long to wait for one; neither when
// the stream has served its turn.
func (l *lane) next() (*frame, time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.broken != nil:
		return nil, 0, l.mu.broken
	case l.mu.moving && len(l.mu.inflight) == 0:
		return nil, 0, nil
	case !l.mu.moving && len(l.mu.inflight) < l.cfg.FramesInFlight:
		if f := l.cutLocked(); f != nil {
			return f, 0, nil
		}
	}
	if len(l.mu.inflight) == 0 {
		return nil, idle, nil
	}
	left := l.cfg.StallTimeout - time.Since(l.mu.inflight[0].sentAt)
	if left <= 0 {
		return nil, 0, errStalled
	}
	return nil, left, nil
}

// put sends a frame.
func (l *lane) put(stream kvpb.Native_FramesClient, f *frame) error {
	l.mu.Lock()
	if l.kind == laneWrites && l.session.id == 0 { // it was given up meanwhile
		l.mu.Unlock()
		return errSessionGone
	}
	f.attempts++
	f.lost, f.sentAt = false, time.Now()
	f.wire.ClusterId, f.wire.SessionId = l.session.cluster, l.session.id
	if l.kind == laneWrites {
		f.wire.Acknowledged = l.mu.inflight[0].wire.GetSequence() - 1
	}
	l.mu.Unlock()
	return stream.Send(f.wire)
}

// receive takes answers until the stream ends.
func (l *lane) receive(stream kvpb.Native_FramesClient, e *endpoint) {
	answer := &kvpb.FrameAnswer{}
	for {
		err := stream.RecvMsg(answer)
		if err == nil {
			err = l.take(answer, e)
		} else if isTooLarge(err) {
			l.refuseLargest(e)
		}
		if err != nil {
			l.mu.Lock()
			if l.mu.broken == nil {
				l.mu.broken = err
			}
			l.mu.Unlock()
			l.signal()
			return
		}
	}
}

// refuseLargest settles the largest frame in flight: the server has ended the
// stream without reading it.
func (l *lane) refuseLargest(e *endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.inflight) == 0 {
		return
	}
	size := func(f *frame) int { return len(f.wire.GetWrites()) + len(f.wire.GetReads()) }
	largest := slices.MaxFunc(l.mu.inflight, func(a, b *frame) int { return cmp.Compare(size(a), size(b)) })
	// What it returns says that the stream is over, which is known.
	_ = l.refusedLocked(largest, rpctypes.ErrGRPCRequestTooLarge, e)
}

// take settles the frame that an answer is for. An error means that the stream
// is of no more use.
func (l *lane) take(a *kvpb.FrameAnswer, e *endpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.mu.inflight, func(f *frame) bool { return f.wire.GetId() == a.GetId() })
	if i < 0 || l.mu.inflight[i].answered {
		return nil
	}
	f := l.mu.inflight[i]
	if a.GetCode() != 0 {
		return l.refusedLocked(f, status.Error(codes.Code(a.GetCode()), a.GetMessage()), e)
	}
	err := l.answerLocked(f, a, e)
	if l.kind == laneWrites && a.GetLeaderId() != 0 && a.GetLeaderId() != a.GetMemberId() && time.Since(l.movedAt) > moveInterval {
		l.mu.moving = true
	}
	return errors.Join(err, l.doneLocked(f))
}

// doneLocked takes a frame out of those in flight, once all before it are. Its
// error is that the next one says the session is no more.
func (l *lane) doneLocked(f *frame) error {
	f.answered = true
	n := 0
	for n < len(l.mu.inflight) && l.mu.inflight[n].answered {
		n++
	}
	l.mu.inflight = slices.Delete(l.mu.inflight, 0, n)
	l.signal()
	if len(l.mu.inflight) > 0 && l.mu.inflight[0].lost {
		l.resetLocked()
		return errSessionGone
	}
	return nil
}

// answerLocked hands the results of a frame to its calls.
func (l *lane) answerLocked(f *frame, a *kvpb.FrameAnswer, e *endpoint) error {
	if l.kind != laneWrites {
		return l.answerReadsLocked(f, a, e)
	}
	results := frames.NewWriteResults(a.GetWrites())
	for _, c := range f.calls {
		r, err := results.Next()
		if err != nil {
			l.finish(c, &AppliedError{Err: err})
			continue
		}
		c.written = Written{WriteResult: *r, Index: a.GetIndex(), Holders: a.GetHolders(), Members: a.GetMembers()}
		l.finish(c, refusal(r.Refusal, e, true))
	}
	return nil
}

func (l *lane) answerReadsLocked(f *frame, a *kvpb.FrameAnswer, e *endpoint) error {
	var again []*call
	var r frames.ReadResult
	for rest, i := a.GetReads(), 0; i < len(f.calls); i++ {
		var err error
		if rest, err = frames.NextReadResult(rest, &r); err != nil {
			l.requeueLocked(append(again, f.calls[i:]...))
			return err
		}
		c := f.calls[i]
		if r.Refusal == int32(kvpb.Refusal_ANSWER_TOO_LARGE) {
			again = append(again, c)
			continue
		}
		c.read = r
		l.finish(c, refusal(r.Refusal, e, false))
	}
	l.requeueLocked(again)
	return nil
}

// requeueLocked puts calls that have surely not been served to the front.
func (l *lane) requeueLocked(calls []*call) {
	if len(calls) == 0 {
		return
	}
	calls = slices.DeleteFunc(slices.Clone(calls), func(c *call) bool { return c.abandoned })
	for _, c := range calls {
		c.sent = false
	}
	l.mu.queue = slices.Concat(calls, l.mu.queue)
}

// refusedLocked settles a frame that was not served as a whole, or leaves it to
// be sent again. Either way the frames behind it leave a gap now, so that the
// stream has to begin anew.
func (l *lane) refusedLocked(f *frame, refused error, e *endpoint) error {
	switch frameVerdict(refused) {
	case frameAgain:
		return refused
	case frameLost:
		f.lost = true
		if f == l.mu.inflight[0] {
			l.resetLocked()
			return refused
		}
		return nil // the frames before it may still be answered
	case frameApplied:
		for _, c := range f.calls {
			l.finish(c, &AppliedError{Err: refused})
		}
		return l.doneLocked(f)
	}
	for _, c := range f.calls {
		if f.attempts > 1 {
			// What came of the first time it was sent is not known.
			l.finishUnknown(c, refused)
			continue
		}
		l.finish(c, &RefusedError{Endpoint: e.address, Write: l.kind == laneWrites, Err: refused})
	}
	if l.kind == laneWrites {
		// Its place in the session has to be taken by something.
		f.calls, f.wire.Writes, f.wire.CountHolders = nil, nil, false
		return refused
	}
	return l.doneLocked(f)
}

// resetLocked gives a session up that the cluster does not know any more. The
// oldest frame was refused for that. If it was sent only then, it was not
// applied, and so none behind it was: all go into the next session.
func (l *lane) resetLocked() {
	sure := l.mu.inflight[0].attempts == 1
	var again []*call
	for _, f := range l.mu.inflight {
		switch {
		case f.answered:
		case sure || f.lost && f.attempts == 1:
			again = append(again, f.calls...)
		default:
			for _, c := range f.calls {
				l.finishUnknown(c, errSessionGone)
			}
		}
	}
	l.mu.inflight, l.mu.sequence = nil, 0
	l.session.cluster, l.session.id = 0, 0
	l.requeueLocked(again)
}
