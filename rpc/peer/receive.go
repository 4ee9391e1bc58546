package peer

import (
	"errors"
	"net"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"raftkv/node"
	"raftkv/rpc/peer/peerpb"
)

// errEnded says that the receiver, this member, ended a lane or a stream.
var errEnded = errors.New("the receiver ended it")

// Serve receives what other members send over their lanes: connections that
// begin with Preface. It returns when l is closed, or fails.
func (t *Transport) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if !t.spawn(func() { t.serveLane(conn) }) {
			_ = conn.Close() // this member is closing
		}
	}
}

// Deserted returns a channel that is closed as soon as no lane comes in: a member
// that stops gives the others a moment to do without it.
func (t *Transport) Deserted() <-chan struct{} {
	c := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.deserted = append(t.mu.deserted, c)
	t.countLaneLocked(0)
	return c
}

func (t *Transport) countLaneLocked(change int) {
	if t.mu.lanes += change; t.mu.lanes > 0 {
		return
	}
	for _, c := range t.mu.deserted {
		close(c)
	}
	t.mu.deserted = nil
}

func (t *Transport) countLane(change int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.countLaneLocked(change)
}

func (t *Transport) serveLane(conn net.Conn) {
	in := t.newInbound()
	defer in.handshake.Stop()
	done := make(chan struct{})
	t.workers.Go(func() { // Serve's goroutine is one of them, so nobody has stopped waiting
		select {
		case <-done:
		case <-in.ended:
		case <-t.ctx.Done():
		}
		_ = conn.Close() // nothing is left to be sent
	})
	defer close(done)
	if err := t.receive(conn, in); err != nil {
		t.logger.Debug("an incoming lane ended", zap.Error(err))
	}
}

func (t *Transport) receive(conn net.Conn, in *inbound) error {
	reader := newFrameReader(conn)
	if err := reader.preface(); err != nil {
		return err
	}
	first := &peerpb.Frame{}
	if _, err := reader.next(first); err != nil {
		return err
	}
	hello := first.GetHello()
	answer, ok := t.admit(hello)
	if ok {
		key := inboundKey{hello.GetFrom(), hello.GetLane()}
		if err := t.establish(t.ctx, key, in); err != nil {
			return err
		}
		defer t.disestablish(key, in)
	}
	framed, err := appendFramed(nil, answer)
	if err != nil {
		return err
	}
	if _, err := conn.Write(framed); err != nil || !ok {
		return err
	}
	t.countLane(+1)
	defer t.countLane(-1)
	return t.receiveFrames(conn, reader, hello.GetFrom(), in)
}

// receiveFrames delivers what a member sends until it ends, or says nothing for
// too long: it asks at every keepaliveInterval whether we are alive.
func (t *Transport) receiveFrames(conn net.Conn, reader *frameReader, from uint64, in *inbound) error {
	alive := make([]byte, lengthBytes)
	patience := 2*keepaliveInterval + t.opts.KeepaliveTimeout
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		frame := &peerpb.Frame{}
		empty, err := reader.next(frame)
		if err != nil {
			return err
		}
		select {
		case <-in.ended: // what a newer lane brings must not be overtaken
			return errEnded
		default:
		}
		if !empty {
			t.deliver(from, frame)
			continue
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write(alive); err != nil {
			return err
		}
	}
}

func (t *Transport) deliver(from uint64, frame *peerpb.Frame) {
	for _, m := range frame.GetMessages() {
		if !t.acceptable(from, m) {
			t.counters.misdirected.Add(1)
			continue
		}
		t.handler.Step(m)
	}
	for _, batch := range frame.GetBatches() {
		t.handler.StepForwarded(from, batch)
	}
	for _, l := range frame.GetLeases() {
		t.handler.StepLease(from, node.LeaseMessage{
			To: t.opts.MemberID, Term: l.GetTerm(), Promise: l.GetPromise(),
			SentAt: time.Duration(l.GetSentAtNs()), Length: time.Duration(l.GetLengthNs()),
		})
	}
	t.handler.Delivered()
	t.counters.received.Add(uint64(len(frame.GetMessages()) + len(frame.GetBatches()) + len(frame.GetLeases())))
}

// acceptable refuses what no honest member sends this way: messages of or for
// others, messages that a node sends to itself, proposals (batches are
// forwarded instead) and snapshots without their files.
func (t *Transport) acceptable(from uint64, m *raftpb.Message) bool {
	if m.GetTo() != t.opts.MemberID || raft.IsLocalMsg(m.GetType()) {
		return false
	}
	switch m.GetType() {
	case raftpb.MessageType_MsgProp, raftpb.MessageType_MsgSnap:
		return false
	case raftpb.MessageType_MsgTransferLeader:
		return true // a follower passes it on; From is the transferee
	}
	return m.GetFrom() == from
}
