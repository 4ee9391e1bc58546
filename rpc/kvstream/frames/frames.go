package frames

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/statemachine/envelope"
)

// Write is one write of a frame.
type Write = envelope.Write

// WriteOp tells what a write does.
type WriteOp = envelope.WriteOp

// What a write does.
const (
	Put            = envelope.WritePut
	Append         = envelope.WriteAppend
	Delete         = envelope.WriteDelete
	CompareAndSwap = envelope.WriteCompareAndSwap
	Increment      = envelope.WriteIncrement
	Txn            = envelope.WriteTxn
)

// AppendWrite appends a write to a serialized Writes message; WriteSize is how
// many bytes that takes at most.
func AppendWrite(dst []byte, w *Write) []byte { return envelope.AppendWrite(dst, w) }

// WriteSize bounds the bytes that AppendWrite appends.
func WriteSize(w *Write) int { return envelope.WriteSize(w) }

// ErrMalformed is wrapped by every error of a decoder.
var ErrMalformed = errors.New("frames: malformed")

// Field numbers, as in kv.proto.
const (
	listItem = 1 // of all four messages

	readValue   = 1
	readCreate  = 2
	readMod     = 3
	readVersion = 4
	readLease   = 5
	readRefusal = 6
)

// AppendRead appends a read of a key to a serialized Reads message.
func AppendRead(dst, key []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, listItem, protowire.BytesType), key)
}

// NextRead returns the next key of a serialized Reads message, and the rest.
func NextRead(reads []byte) (key, rest []byte, err error) { return nextItem(reads) }

// nextItem takes the next element of a message that has nothing but a list.
func nextItem(list []byte) (item, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(list)
	if n < 0 || num != listItem || typ != protowire.BytesType {
		return nil, nil, fmt.Errorf("%w: no element where one has to begin", ErrMalformed)
	}
	item, size := protowire.ConsumeBytes(list[n:])
	if size < 0 {
		return nil, nil, fmt.Errorf("%w: an element is cut off", ErrMalformed)
	}
	return item, list[n+size:], nil
}

// ReadResult is a key as it was read. One that is missing has ModRevision 0.
type ReadResult struct {
	Value                                       []byte
	CreateRevision, ModRevision, Version, Lease int64
	// Refusal is a kvpb.Refusal.
	Refusal int32
}

// AppendReadResult appends a result to a serialized ReadResults message.
func AppendReadResult(dst []byte, r *ReadResult) []byte {
	numbers := [...]struct {
		num   protowire.Number
		value uint64
	}{
		{readCreate, uint64(r.CreateRevision)}, {readMod, uint64(r.ModRevision)}, {readVersion, uint64(r.Version)},
		{readLease, uint64(r.Lease)}, {readRefusal, uint64(r.Refusal)},
	}
	size := 0
	if len(r.Value) > 0 {
		size = protowire.SizeTag(readValue) + protowire.SizeBytes(len(r.Value))
	}
	for _, f := range numbers {
		if f.value != 0 {
			size += protowire.SizeTag(f.num) + protowire.SizeVarint(f.value)
		}
	}
	dst = protowire.AppendTag(dst, listItem, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if len(r.Value) > 0 {
		dst = protowire.AppendTag(dst, readValue, protowire.BytesType)
		dst = protowire.AppendBytes(dst, r.Value)
	}
	for _, f := range numbers {
		if f.value != 0 {
			dst = protowire.AppendTag(dst, f.num, protowire.VarintType)
			dst = protowire.AppendVarint(dst, f.value)
		}
	}
	return dst
}

// NextReadResult reads the next result of a serialized ReadResults message into
// r and returns the rest.
func NextReadResult(results []byte, r *ReadResult) (rest []byte, err error) {
	item, rest, err := nextItem(results)
	if err != nil {
		return nil, err
	}
	*r = ReadResult{}
	return rest, eachField(item, func(num protowire.Number, v uint64, b []byte) {
		switch num {
		case readValue:
			r.Value = b
		case readCreate:
			r.CreateRevision = int64(v)
		case readMod:
			r.ModRevision = int64(v)
		case readVersion:
			r.Version = int64(v)
		case readLease:
			r.Lease = int64(v)
		case readRefusal:
			r.Refusal = int32(v)
		}
	})
}

// eachField walks the numbers and byte strings of a message.
func eachField(data []byte, visit func(num protowire.Number, v uint64, b []byte)) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
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
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		data = data[n:]
		visit(num, v, b)
	}
	return nil
}
