package statemachine

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/kv"
)

// command applies one command. A refusal is its result; an error is fatal.
func (a *application) command(c *envelope.Command) (result any, err error) {
	if err := a.gate(c.Kind); err != nil {
		return err, nil
	}
	w := &a.m.writer
	switch c.Kind {
	case envelope.KindPut, envelope.KindAppend:
		req := &a.m.put
		if err := decodePut(c.Body, req); err != nil {
			return nil, err
		}
		if err := a.refusal(c.Kind, always); err != nil {
			return err, nil
		}
		if c.Kind == envelope.KindPut {
			return outcome(kv.Put(w, &a.m.leases, req))
		}
		return outcome(kv.Append(w, &a.m.leases, req))
	case envelope.KindDeleteRange:
		req := &pb.DeleteRangeRequest{}
		if err := decodeBody(c, req); err != nil {
			return nil, err
		}
		if err := a.refusal(c.Kind, never); err != nil {
			return err, nil
		}
		return outcome(kv.DeleteRange(w, req))
	case envelope.KindTxn:
		req := &pb.TxnRequest{}
		if err := decodeBody(c, req); err != nil {
			return nil, err
		}
		if err := a.refusal(c.Kind, growing(req)); err != nil {
			return err, nil
		}
		return outcome(kv.Txn(w, &a.m.leases, req))
	case envelope.KindCompaction:
		return a.compaction(c)
	case envelope.KindPublishMember:
		return a.publishMember(c)
	case envelope.KindClusterVersion:
		return a.setClusterVersion(c)
	case envelope.KindDowngrade:
		return a.setDowngrade(c)
	case envelope.KindLeaseReads:
		return a.setLeaseReads(c)
	case envelope.KindAlarm, envelope.KindOwnAlarm:
		return a.changeAlarm(c)
	case envelope.KindFrame:
		return a.frame(c)
	case envelope.KindSessionOpen:
		return a.openSession(c)
	case envelope.KindSessionClose:
		return a.closeSession(c)
	case envelope.KindLeaseGrant:
		return a.grantLease(c)
	case envelope.KindLeaseRevoke:
		return a.revokeLease(c)
	case envelope.KindLeaseRemaining:
		return a.recordRemaining(c)
	}
	return nil, fmt.Errorf("%w: kind %d", ErrUnknownCommand, c.Kind)
}

func decodeBody(c *envelope.Command, req proto.Message) error {
	if err := proto.Unmarshal(c.Body, req); err != nil {
		return fmt.Errorf("%w: body of kind %d: %w", ErrMalformedEntry, c.Kind, err)
	}
	return nil
}

// outcome turns a refusal into a result.
func outcome[T any](resp *T, err error) (any, error) {
	if err == nil {
		return resp, nil
	}
	if kv.IsRefusal(err) {
		return err, nil
	}
	return nil, err
}

func (a *application) compaction(c *envelope.Command) (any, error) {
	req := &pb.CompactionRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	if err := a.refusal(c.Kind, never); err != nil {
		return err, nil
	}
	previous := a.m.writer.Compacted()
	resp, err := kv.Compact(&a.m.writer, req)
	if err == nil {
		a.m.effects.compact(req.GetRevision())
		a.compactions = append(a.compactions, compaction{previous: previous, revision: req.GetRevision()})
	}
	return outcome(resp, err)
}

func (a *application) setMember(m Member) error {
	a.next.roster = a.next.with(m)
	a.m.effects.member(&m)
	return setMember(a.batch, &m)
}
