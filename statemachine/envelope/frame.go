package envelope

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Frame is the body of KindFrame: independent writes of one client, in one
// place of its session.
type Frame struct {
	// Acknowledged says that the client has the results of its session up to
	// this sequence number: they can be forgotten.
	Acknowledged uint64
	// Writes is a serialized Writes message, see NextWrite.
	Writes []byte
}

// WriteOp tells what a write does.
type WriteOp uint8

// Numbers of writes are their field numbers in envelope.proto: never reuse one.
const (
	WritePut            WriteOp = 1
	WriteAppend         WriteOp = 2
	WriteDelete         WriteOp = 3
	WriteCompareAndSwap WriteOp = 4
	WriteIncrement      WriteOp = 5
	WriteTxn            WriteOp = 6
	// WriteRefused stands in the log for a write that the member in front of it
	// has refused, so that it is answered in its place.
	WriteRefused WriteOp = 15
)

// Write is one write of a frame. Its slices alias what it was read from.
type Write struct {
	Op         WriteOp
	Key, Value []byte
	// RangeEnd is that of a delete, with etcd's meaning.
	RangeEnd []byte
	// Lease is attached to the key by a put or a swap, 0: none.
	Lease int64
	// A swap expects the key to have the value Expected if ByValue is set, else
	// the modification revision ExpectedRevision, 0 for a key that is missing.
	ByValue          bool
	Expected         []byte
	ExpectedRevision int64
	// Delta is what an increment adds.
	Delta int64
	// Txn is a serialized etcdserverpb.TxnRequest.
	Txn []byte
	// Refusal is the code of WriteRefused.
	Refusal uint64
}

// Field numbers, as in envelope.proto.
const (
	frameAcknowledged = 1
	frameWrites       = 2

	writesOp = 1

	writeKey     = 1 // of each kind of write
	writeValue   = 2
	putLease     = 3
	deleteEnd    = 2
	swapRevision = 3
	swapExpected = 4
	swapLease    = 5
	incrementBy  = 2
)

// EncodeFrame serializes a command of KindFrame, copying the writes once. Kind
// and Body of c are ignored.
func EncodeFrame(c Command, f Frame) []byte {
	size := protowire.SizeTag(frameWrites) + protowire.SizeBytes(len(f.Writes))
	if f.Acknowledged != 0 {
		size += protowire.SizeTag(frameAcknowledged) + protowire.SizeVarint(f.Acknowledged)
	}
	c.Kind = KindFrame
	b := c.appendHead(make([]byte, 0, size+len(c.User)+64))
	b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendVarint(b, frameAcknowledged, f.Acknowledged)
	b = protowire.AppendTag(b, frameWrites, protowire.BytesType)
	return protowire.AppendBytes(b, f.Writes)
}

// DecodeFrame parses the body of KindFrame. Writes aliases it.
func DecodeFrame(data []byte) (Frame, error) {
	var f Frame
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case frameAcknowledged:
			f.Acknowledged = v
		case frameWrites:
			f.Writes = b
		}
		return nil
	})
	if err != nil {
		return Frame{}, fmt.Errorf("frame: %w", err)
	}
	return f, nil
}

// NextWrite reads the first write of a serialized Writes message into w and
// returns the rest. Unlike the other decoders it refuses fields that it does
// not know: a write that is only understood in part must not be done.
func NextWrite(writes []byte, w *Write) (rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(writes)
	if n < 0 || num != writesOp || typ != protowire.BytesType {
		return nil, malformedWrite("no write where one has to begin")
	}
	op, size := protowire.ConsumeBytes(writes[n:])
	if size < 0 {
		return nil, malformedWrite("a write that is cut off")
	}
	return writes[n+size:], decodeWrite(op, w)
}

func malformedWrite(text string) error { return fmt.Errorf("%w: frame: %s", ErrMalformed, text) }

// decodeWrite reads a message that holds exactly one field, which names what is
// to be done.
func decodeWrite(data []byte, w *Write) error {
	*w = Write{}
	num, typ, n := protowire.ConsumeTag(data)
	if n < 0 {
		return malformedWrite("a write that names no operation")
	}
	data = data[n:]
	if num == protowire.Number(WriteRefused) && typ == protowire.VarintType {
		w.Op = WriteRefused
		if w.Refusal, n = protowire.ConsumeVarint(data); n != len(data) {
			return malformedWrite("a refusal that is no number")
		}
		return nil
	}
	body, n := protowire.ConsumeBytes(data)
	if typ != protowire.BytesType || n != len(data) {
		return malformedWrite("a write that is not one operation")
	}
	switch w.Op = WriteOp(num); {
	case num == protowire.Number(WriteTxn):
		w.Txn = body
		return nil
	case num < protowire.Number(WritePut) || num > protowire.Number(WriteIncrement):
		return malformedWrite(fmt.Sprintf("operation %d is not known", num))
	}
	return w.fields(body)
}

// fields reads the message of an operation.
func (w *Write) fields(data []byte) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return malformedWrite("a field that is cut off")
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = -1
		}
		if n < 0 || !w.field(num, typ == protowire.BytesType, v, b) {
			return malformedWrite(fmt.Sprintf("field %d of operation %d", num, w.Op))
		}
		data = data[n:]
	}
	return nil
}

// field takes one field, and reports whether it is known.
func (w *Write) field(num protowire.Number, isBytes bool, v uint64, b []byte) bool {
	switch {
	case num == writeKey && isBytes:
		w.Key = b
	case w.Op == WriteDelete && num == deleteEnd && isBytes:
		w.RangeEnd = b
	case w.Op == WriteIncrement && num == incrementBy && !isBytes:
		w.Delta = protowire.DecodeZigZag(v)
	case w.Op == WriteDelete || w.Op == WriteIncrement:
		return false
	case num == writeValue && isBytes:
		w.Value = b
	case w.Op == WritePut && num == putLease && !isBytes,
		w.Op == WriteCompareAndSwap && num == swapLease && !isBytes:
		w.Lease = int64(v)
	case w.Op == WriteCompareAndSwap && num == swapRevision && !isBytes:
		w.ByValue, w.ExpectedRevision = false, int64(v)
	case w.Op == WriteCompareAndSwap && num == swapExpected && isBytes:
		w.ByValue, w.Expected = true, b
	default:
		return false
	}
	return true
}

// AppendWrite appends a write to a serialized Writes message.
func AppendWrite(dst []byte, w *Write) []byte {
	dst = protowire.AppendTag(dst, writesOp, protowire.BytesType)
	if w.Op == WriteRefused {
		dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(protowire.Number(WriteRefused))+protowire.SizeVarint(w.Refusal)))
		dst = protowire.AppendTag(dst, protowire.Number(WriteRefused), protowire.VarintType)
		return protowire.AppendVarint(dst, w.Refusal)
	}
	size := w.size()
	dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(protowire.Number(w.Op))+protowire.SizeBytes(size)))
	dst = protowire.AppendTag(dst, protowire.Number(w.Op), protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if w.Op == WriteTxn {
		return append(dst, w.Txn...)
	}
	dst = appendBytes(dst, writeKey, w.Key)
	switch w.Op {
	case WriteDelete:
		return appendBytes(dst, deleteEnd, w.RangeEnd)
	case WriteIncrement:
		return appendVarint(dst, incrementBy, protowire.EncodeZigZag(w.Delta))
	}
	dst = appendBytes(dst, writeValue, w.Value)
	switch w.Op {
	case WritePut:
		return appendVarint(dst, putLease, uint64(w.Lease))
	case WriteCompareAndSwap:
		if w.ByValue {
			dst = protowire.AppendTag(dst, swapExpected, protowire.BytesType)
			dst = protowire.AppendBytes(dst, w.Expected)
		} else {
			dst = appendVarint(dst, swapRevision, uint64(w.ExpectedRevision))
		}
		return appendVarint(dst, swapLease, uint64(w.Lease))
	}
	return dst
}

// size is that of the operation's message.
func (w *Write) size() int {
	if w.Op == WriteTxn {
		return len(w.Txn)
	}
	n := sizeBytes(writeKey, w.Key)
	switch w.Op {
	case WriteDelete:
		return n + sizeBytes(deleteEnd, w.RangeEnd)
	case WriteIncrement:
		return n + sizeVarint(incrementBy, protowire.EncodeZigZag(w.Delta))
	}
	n += sizeBytes(writeValue, w.Value)
	switch w.Op {
	case WritePut:
		n += sizeVarint(putLease, uint64(w.Lease))
	case WriteCompareAndSwap:
		n += sizeVarint(swapLease, uint64(w.Lease))
		if w.ByValue {
			n += protowire.SizeTag(swapExpected) + protowire.SizeBytes(len(w.Expected))
		} else {
			n += sizeVarint(swapRevision, uint64(w.ExpectedRevision))
		}
	}
	return n
}

// WriteSize is how many bytes AppendWrite appends at most.
func WriteSize(w *Write) int { return w.size() + 32 }

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func sizeBytes(num protowire.Number, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(v))
}

func sizeVarint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}
