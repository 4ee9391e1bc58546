package statemachine

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/kv"
)

// FrameResult is the result of a frame.
type FrameResult struct {
	// Writes is a serialized WriteResults message (rpc/kvstream/kvpb/kv.proto):
	// the results of the frame's writes in their order. It is what a session
	// records, and must not be changed.
	Writes []byte
	// Recorded: the frame was applied before, and this is what was recorded then.
	Recorded bool
}

// frame applies the writes of a frame, each as a transaction of its own with a
// result of its own. Its error is fatal.
func (a *application) frame(c *envelope.Command) (any, error) {
	f, err := envelope.DecodeFrame(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	results := writeResults{buf: a.m.frameScratch[:0]}
	for rest := f.Writes; len(rest) > 0; {
		w := &a.m.write
		if rest, err = envelope.NextWrite(rest, w); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
		}
		if err := a.write(w, &results); err != nil {
			return nil, err
		}
	}
	results.flush()
	a.m.frameScratch = results.buf
	return &FrameResult{Writes: append([]byte(nil), results.buf...)}, nil
}

// write applies one write of a frame and adds its result.
func (a *application) write(w *envelope.Write, results *writeResults) error {
	m := &a.m.writer
	var r writeResult
	var err error
	switch w.Op {
	case envelope.WritePut:
		if err = a.refusal(envelope.KindFrame, always); err == nil {
			err = kv.PutKey(m, &a.m.leases, w.Key, w.Value, w.Lease)
		}
		if err == nil {
			results.put(m.Revision())
			return nil
		}
	case envelope.WriteAppend:
		if err = a.refusal(envelope.KindFrame, always); err == nil {
			r.length, err = kv.AppendKey(m, &a.m.leases, w.Key, w.Value)
		}
	case envelope.WriteDelete:
		if err = a.refusal(envelope.KindFrame, never); err == nil {
			r.deleted, err = a.deleteRange(w)
		}
	case envelope.WriteCompareAndSwap:
		if err = a.refusal(envelope.KindFrame, always); err == nil {
			expected := kv.Expectation{ByValue: w.ByValue, Value: w.Expected, Revision: w.ExpectedRevision}
			r.swapped, r.found, err = kv.CompareAndSwap(m, &a.m.leases, w.Key, w.Value, w.Lease, expected)
		}
	case envelope.WriteIncrement:
		if err = a.refusal(envelope.KindFrame, always); err == nil {
			r.value, err = kv.Increment(m, w.Key, w.Delta)
		}
	case envelope.WriteTxn:
		r.txn, err = a.txn(w)
	case envelope.WriteRefused:
		r.refusal = w.Refusal
	}
	if err != nil {
		code := codeOf(err)
		if code == 0 {
			return err
		}
		r = writeResult{refusal: uint64(code)}
	}
	r.revision = m.Revision()
	results.add(&r)
	return nil
}

func (a *application) deleteRange(w *envelope.Write) (int64, error) {
	resp, err := kv.DeleteRange(&a.m.writer, &pb.DeleteRangeRequest{Key: w.Key, RangeEnd: w.RangeEnd})
	return resp.GetDeleted(), err
}

// txn returns the serialized answer to a transaction.
func (a *application) txn(w *envelope.Write) ([]byte, error) {
	req := &pb.TxnRequest{}
	if err := proto.Unmarshal(w.Txn, req); err != nil {
		return nil, fmt.Errorf("%w: transaction of a frame: %w", ErrMalformedEntry, err)
	}
	if err := a.refusal(envelope.KindFrame, growing(req)); err != nil {
		return nil, err
	}
	resp, err := kv.Txn(&a.m.writer, &a.m.leases, req)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(resp)
}

// writeResult is one result of a WriteResults message.
type writeResult struct {
	revision int64
	refusal  uint64
	deleted  int64
	length   int
	swapped  bool
	value    int64
	found    int64
	txn      []byte
}

// Field numbers of WriteResult, as in kv.proto.
const (
	resultsResult = 1

	resultCount    = 1
	resultRevision = 2
	resultRefused  = 3
	resultDeleted  = 4
	resultLength   = 5
	resultSwapped  = 6
	resultValue    = 7
	resultTxnBody  = 8
	resultFound    = 9
)

// writeResults serializes a WriteResults message. Puts that follow each other
// take one result together: their revisions do, too.
type writeResults struct {
	buf []byte
	// puts is the number of puts not serialized yet, the first of which led to
	// revision first.
	puts  int
	first int64
}

func (r *writeResults) put(revision int64) {
	if r.puts > 0 && revision != r.first+int64(r.puts) {
		r.flush()
	}
	if r.puts == 0 {
		r.first = revision
	}
	r.puts++
}

func (r *writeResults) flush() {
	if r.puts == 0 {
		return
	}
	r.message(numberSize(resultCount, uint64(r.puts)) + numberSize(resultRevision, uint64(r.first)))
	r.number(resultCount, uint64(r.puts))
	r.number(resultRevision, uint64(r.first))
	r.puts = 0
}

func (r *writeResults) add(w *writeResult) {
	r.flush()
	swapped := uint64(0)
	if w.swapped {
		swapped = 1
	}
	fields := [...]struct {
		num   protowire.Number
		value uint64
	}{
		{resultRevision, uint64(w.revision)}, {resultRefused, w.refusal}, {resultDeleted, uint64(w.deleted)},
		{resultLength, uint64(w.length)}, {resultSwapped, swapped}, {resultValue, protowire.EncodeZigZag(w.value)},
		{resultFound, uint64(w.found)},
	}
	size := 0
	for _, f := range fields {
		size += numberSize(f.num, f.value)
	}
	if len(w.txn) > 0 {
		size += protowire.SizeTag(resultTxnBody) + protowire.SizeBytes(len(w.txn))
	}
	r.message(size)
	for _, f := range fields {
		r.number(f.num, f.value)
	}
	if len(w.txn) > 0 {
		r.buf = protowire.AppendTag(r.buf, resultTxnBody, protowire.BytesType)
		r.buf = protowire.AppendBytes(r.buf, w.txn)
	}
}

func (r *writeResults) message(size int) {
	r.buf = protowire.AppendTag(r.buf, resultsResult, protowire.BytesType)
	r.buf = protowire.AppendVarint(r.buf, uint64(size))
}

func (r *writeResults) number(num protowire.Number, v uint64) {
	if v != 0 {
		r.buf = protowire.AppendTag(r.buf, num, protowire.VarintType)
		r.buf = protowire.AppendVarint(r.buf, v)
	}
}

func numberSize(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}
