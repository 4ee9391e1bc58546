package request

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Codes of the writes that a member refuses itself, as in kv.proto.
const (
	refusedNoSpace    = 8
	refusedDenied     = 19
	refusedInvalidTxn = 20
)

// FrameWrites are the writes of a frame.
type FrameWrites struct {
	// Session and Sequence are 0 for a frame without a session.
	Session, Sequence, Acknowledged uint64
	// Writes is a serialized Writes message.
	Writes []byte
}

// frameCheck is a frame under examination.
type frameCheck struct {
	gate   *Gate
	id     Identity
	growth int64
	count  int
	// refused holds the codes of writes that are refused, by their places.
	refused map[int]uint64
}

// EncodeFrame validates and authorises every write of a frame, and makes the
// command that applies them. A write that is refused is refused by itself; the
// error, a gRPC status, is about the frame as a whole.
func (g *Gate) EncodeFrame(ctx context.Context, f FrameWrites) ([]byte, error) {
	id, err := g.auth.Identify(ctx)
	if err != nil {
		return nil, g.table.GRPC(err)
	}
	if len(f.Writes) > g.cfg.RequestBytesMax {
		return nil, status.Errorf(codes.InvalidArgument,
			"raftkv: frame is too large: its writes take %d bytes, at most %d are allowed; send several frames", len(f.Writes), g.cfg.RequestBytesMax)
	}
	c := frameCheck{gate: g, id: id}
	if err := c.all(f.Writes); err != nil {
		return nil, err
	}
	if err := c.space(ctx, f.Writes); err != nil {
		return nil, err
	}
	writes := f.Writes
	if len(c.refused) > 0 {
		writes = c.replace(writes)
	}
	return envelope.EncodeFrame(
		envelope.Command{User: id.User, AuthRevision: id.AuthRevision, Session: f.Session, Sequence: f.Sequence},
		envelope.Frame{Acknowledged: f.Acknowledged, Writes: writes}), nil
}

// all examines every write.
func (c *frameCheck) all(writes []byte) (err error) {
	var w envelope.Write
	for rest := writes; len(rest) > 0; c.count++ {
		if c.count == c.gate.cfg.FrameOpsMax {
			return status.Errorf(codes.InvalidArgument, "raftkv: frame has more than %d writes; send several frames", c.gate.cfg.FrameOpsMax)
		}
		if rest, err = envelope.NextWrite(rest, &w); err == nil && w.Op == envelope.WriteRefused {
			err = errors.New("a client cannot refuse a write")
		}
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "raftkv: write %d of the frame: %v", c.count, err)
		}
		if code := c.write(&w); code != 0 {
			c.refuse(c.count, code)
		}
	}
	return nil
}

func (c *frameCheck) refuse(place int, code uint64) {
	if c.refused == nil {
		c.refused = make(map[int]uint64)
	}
	c.refused[place] = code
}

// write returns the code that a write is refused with, 0 if it is not. Empty
// keys and the like are refused when the frame is applied.
func (c *frameCheck) write(w *envelope.Write) (code uint64) {
	var err error
	switch w.Op {
	case envelope.WritePut:
		err = c.gate.allow(c.id, Operation{Access: Write, Key: w.Key, Lease: w.Lease})
	case envelope.WriteDelete:
		return c.denied(c.gate.allow(c.id, Operation{Access: Write, Key: w.Key, RangeEnd: w.RangeEnd}))
	case envelope.WriteTxn:
		return c.txn(w)
	default: // the answer tells what was there
		if err = c.gate.allow(c.id, Operation{Access: Read, Key: w.Key}); err == nil {
			err = c.gate.allow(c.id, Operation{Access: Write, Key: w.Key, Lease: w.Lease})
		}
	}
	c.growth += int64(keyOverhead + len(w.Key) + len(w.Value))
	return c.denied(err)
}

func (c *frameCheck) denied(err error) uint64 {
	if err != nil {
		return refusedDenied
	}
	return 0
}

func (c *frameCheck) txn(w *envelope.Write) (code uint64) {
	req := &pb.TxnRequest{}
	if proto.Unmarshal(w.Txn, req) != nil || CheckTxn(req, c.gate.cfg.TxnOpsMax) != nil {
		return refusedInvalidTxn
	}
	c.growth += growthOf(req)
	return c.denied(c.gate.authorizeTxn(c.id, req))
}

// space refuses the writes that would make the store grow if there is no room.
func (c *frameCheck) space(ctx context.Context, writes []byte) error {
	if c.gate.cfg.Space == nil || c.growth == 0 {
		return nil
	}
	err := c.gate.cfg.Space(ctx, c.growth)
	if err == nil {
		return nil
	}
	if !errors.Is(err, statemachine.ErrNoSpace) {
		return c.gate.WriteError(err)
	}
	var w envelope.Write
	for place, rest := 0, writes; len(rest) > 0; place++ {
		if rest, err = envelope.NextWrite(rest, &w); err != nil {
			return status.Errorf(codes.InvalidArgument, "raftkv: %v", err)
		}
		if c.refused[place] == 0 && grows(&w) {
			c.refuse(place, refusedNoSpace)
		}
	}
	return nil
}

func grows(w *envelope.Write) bool {
	switch w.Op {
	case envelope.WriteDelete:
		return false
	case envelope.WriteTxn:
		req := &pb.TxnRequest{}
		return proto.Unmarshal(w.Txn, req) == nil && growthOf(req) > 0
	}
	return true
}

// replace puts a note in place of each write that is refused.
func (c *frameCheck) replace(writes []byte) []byte {
	out := make([]byte, 0, len(writes))
	var w envelope.Write
	for place, rest := 0, writes; len(rest) > 0; place++ {
		before := rest
		// It was read before.
		rest, _ = envelope.NextWrite(rest, &w)
		if code := c.refused[place]; code != 0 {
			out = envelope.AppendWrite(out, &envelope.Write{Op: envelope.WriteRefused, Refusal: code})
			continue
		}
		out = append(out, before[:len(before)-len(rest)]...)
	}
	return out
}

// MayRead tells whether the caller that Identify found may read a key.
func (g *Gate) MayRead(id Identity, key []byte) bool {
	return g.allow(id, Operation{Access: Read, Key: key}) == nil
}

// Identify establishes who asks. Its error is a gRPC status.
func (g *Gate) Identify(ctx context.Context) (Identity, error) {
	id, err := g.auth.Identify(ctx)
	if err != nil {
		return Identity{}, g.table.GRPC(err)
	}
	return id, nil
}

// ProposeSession proposes a command about sessions, which anybody may have whom
// Identify knows.
func (g *Gate) ProposeSession(ctx context.Context, kind envelope.Kind, body []byte) (any, error) {
	id, err := g.Identify(ctx)
	if err != nil {
		return nil, err
	}
	return g.propose(ctx, id, kind, body)
}

// ProposeAdmin proposes a command that changes the cluster as a whole.
func (g *Gate) ProposeAdmin(ctx context.Context, kind envelope.Kind, body []byte) (any, error) {
	id, err := g.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.allow(id, Operation{Access: Admin}); err != nil {
		return nil, err
	}
	return g.propose(ctx, id, kind, body)
}

func (g *Gate) propose(ctx context.Context, id Identity, kind envelope.Kind, body []byte) (any, error) {
	ctx, cancel := g.WithTimeout(ctx)
	defer cancel()
	result, _, err := g.backend.Propose(ctx, envelope.EncodeCommand(envelope.Command{
		Kind: kind, User: id.User, AuthRevision: id.AuthRevision, Body: body,
	}))
	if err == nil {
		if refused, ok := result.(error); ok {
			err = refused
		}
	}
	if err != nil {
		return nil, g.WriteError(err)
	}
	return result, nil
}
