package rpctest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/kvstream"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// session keeps every result.
type session struct{ results []any }

// SessionTTL is what every member says.
const SessionTTL = time.Minute

// SessionTTL returns SessionTTL.
func (m *Member) SessionTTL() time.Duration { return SessionTTL }

// LeasePromise is what every member says.
func (m *Member) LeasePromise() time.Duration { return time.Second / 2 }

// Stopping is a switch.
func (m *Member) Stopping() <-chan struct{} { return m.switches().Stopping }

// enqueued is a command that was handed over: applied already, unless the member
// blocks.
type enqueued struct {
	blocked bool
	result  any
	index   uint64
	err     error
}

// Wait implements kvstream.Waiting.
func (e enqueued) Wait(ctx context.Context) (any, uint64, error) {
	if e.blocked {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return e.result, e.index, e.err
}

// Enqueue applies the command at once, and answers when it is waited for.
func (m *Member) Enqueue(command []byte) (kvstream.Waiting, error) {
	if m.switches().BlockPropose {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.mu.enqueued++
		return enqueued{blocked: true}, nil
	}
	result, index, err := m.Propose(context.Background(), command)
	return enqueued{result: result, index: index, err: err}, nil
}

// Enqueued returns how many commands were enqueued while the member blocked.
func (m *Member) Enqueued() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.enqueued
}

// Sessions returns how many sessions are open.
func (m *Member) Sessions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mu.sessions)
}

// ForgetSessions ends all sessions.
func (m *Member) ForgetSessions() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.mu.sessions)
}

// GetKeys reads the present.
func (m *Member) GetKeys(list [][]byte, visit func(i int, kv *mvcc.KeyValue) error) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, key := range list {
		var found *mvcc.KeyValue
		if kv := m.mu.keys[string(key)]; kv != nil {
			found = &mvcc.KeyValue{Key: key, Value: kv.GetValue(), Revision: keys.Revision{Main: kv.GetModRevision()},
				CreateRevision: kv.GetCreateRevision(), Version: kv.GetVersion(), Lease: kv.GetLease()}
		}
		if err := visit(i, found); err != nil {
			return 0, err
		}
	}
	return m.mu.revision, nil
}

// sessionCommandLocked opens sessions under the index of their command.
func (m *Member) sessionCommandLocked(c envelope.Command) (any, error) {
	switch c.Kind {
	case envelope.KindSessionOpen:
		m.mu.sessions[m.mu.index] = &session{}
		return &statemachine.SessionOpened{ID: m.mu.index}, nil
	case envelope.KindSessionClose:
		r, err := envelope.DecodeSessionClose(c.Body)
		if err != nil {
			return nil, err
		}
		if m.mu.sessions[r.Session] == nil {
			return fmt.Errorf("%w: %x", statemachine.ErrSessionUnknown, r.Session), nil
		}
		delete(m.mu.sessions, r.Session)
		return &pb.EmptyResponse{}, nil
	}
	f, err := envelope.DecodeFrame(c.Body)
	if err != nil {
		return nil, err
	}
	if c.Session == 0 {
		return m.frameLocked(f)
	}
	s := m.mu.sessions[c.Session]
	switch {
	case s == nil:
		return fmt.Errorf("%w: %x", statemachine.ErrSessionUnknown, c.Session), nil
	case c.Sequence > uint64(len(s.results))+1:
		return fmt.Errorf("%w: %d", statemachine.ErrSequenceGap, c.Sequence), nil
	case c.Sequence <= uint64(len(s.results)):
		if f, ok := s.results[c.Sequence-1].(*statemachine.FrameResult); ok {
			return &statemachine.FrameResult{Writes: f.Writes, Recorded: true}, nil
		}
		return s.results[c.Sequence-1], nil
	}
	result, err := m.frameLocked(f)
	s.results = append(s.results, result)
	return result, err
}

// frameLocked applies the writes of a frame.
func (m *Member) frameLocked(f envelope.Frame) (any, error) {
	var out []byte
	var w envelope.Write
	var err error
	for rest := f.Writes; len(rest) > 0; {
		if rest, err = envelope.NextWrite(rest, &w); err != nil {
			return nil, err
		}
		fields := m.writeLocked(&w)
		if w.Op == envelope.WritePut {
			fields = append(fields, 8, 1) // one put
		}
		fields = protowire.AppendVarint(append(fields, 2<<3), uint64(m.mu.revision))
		out = protowire.AppendBytes(append(out, 1<<3|2), fields)
	}
	return &statemachine.FrameResult{Writes: out}, nil
}

// writeLocked returns the fields of a WriteResult but for the revision.
func (m *Member) writeLocked(w *envelope.Write) (fields []byte) {
	number := func(num, v uint64) []byte { return protowire.AppendVarint(append(fields, byte(num<<3)), v) }
	old := m.mu.keys[string(w.Key)]
	put := func(value []byte) {
		m.putLocked(&pb.PutRequest{Key: bytes.Clone(w.Key), Value: bytes.Clone(value), Lease: w.Lease}, false)
	}
	switch w.Op {
	case envelope.WriteRefused:
		return number(3, w.Refusal)
	case envelope.WriteTxn:
		txn := &pb.TxnRequest{}
		if err := proto.Unmarshal(w.Txn, txn); err != nil {
			return number(3, 20)
		}
		answer, err := proto.Marshal(m.txnLocked(txn))
		if err != nil {
			return number(3, 20)
		}
		return protowire.AppendBytes([]byte{8<<3 | 2}, answer)
	}
	if len(w.Key) == 0 {
		return number(3, 3)
	}
	switch w.Op {
	case envelope.WritePut:
		put(w.Value)
	case envelope.WriteAppend:
		put(append(bytes.Clone(old.GetValue()), w.Value...))
		return number(5, uint64(len(old.GetValue())+len(w.Value)))
	case envelope.WriteDelete:
		resp := m.deleteLocked(&pb.DeleteRangeRequest{Key: w.Key, RangeEnd: w.RangeEnd})
		return number(4, uint64(resp.GetDeleted()))
	case envelope.WriteCompareAndSwap:
		met := old.GetModRevision() == w.ExpectedRevision
		if w.ByValue {
			met = old != nil && bytes.Equal(old.GetValue(), w.Expected)
		}
		fields = number(9, uint64(old.GetModRevision()))
		if met {
			put(w.Value)
			return number(6, 1)
		}
		return fields
	case envelope.WriteIncrement:
		n := int64(0)
		if old != nil {
			var err error
			if n, err = strconv.ParseInt(string(old.GetValue()), 10, 64); err != nil {
				return number(3, 17)
			}
		}
		put(strconv.AppendInt(nil, n+w.Delta, 10))
		return number(7, protowire.EncodeZigZag(n+w.Delta))
	}
	return nil
}
