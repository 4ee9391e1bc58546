package feed

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/statemachine"
)

// Event is one change as the wire has it.
type Event struct {
	// Revision is the main revision of the change.
	Revision int64
	// field is a field "events" of a WatchResponse: tag, length and event.
	field mem.Buffer
	size  int
}

// Size is what the event takes on the wire, in bytes.
func (e *Event) Size() int { return e.size }

// Field numbers of etcdserverpb.ResponseHeader and WatchResponse, mvccpb.Event
// and mvccpb.KeyValue.
const (
	headerClusterID = 1
	headerMemberID  = 2
	headerRevision  = 3
	headerRaftTerm  = 4

	responseHeader          = 1
	responseWatchID         = 2
	responseCreated         = 3
	responseCanceled        = 4
	responseCompactRevision = 5
	responseCancelReason    = 6
	responseFragment        = 7
	responseEvents          = 11

	eventType   = 1
	eventKV     = 2
	eventPrevKV = 3

	kvKey            = 1
	kvCreateRevision = 2
	kvModRevision    = 3
	kvVersion        = 4
	kvValue          = 5
	kvLease          = 6
)

// NewEvent encodes a change, with the version before it unless that is nil.
func NewEvent(c *statemachine.Change, previous *statemachine.KeyValue) *Event {
	kv := keyValueSize(&c.KeyValue)
	size := lengthFieldSize(eventKV, kv)
	if c.Deleted {
		size += varintFieldSize(eventType, int64(mvccpb.Event_DELETE))
	}
	prev := 0
	if previous != nil {
		prev = keyValueSize(previous)
		size += lengthFieldSize(eventPrevKV, prev)
	}
	b := make([]byte, 0, lengthFieldSize(responseEvents, size))
	b = appendLength(b, responseEvents, size)
	if c.Deleted {
		b = appendVarint(b, eventType, int64(mvccpb.Event_DELETE))
	}
	b = appendKeyValue(appendLength(b, eventKV, kv), &c.KeyValue)
	if previous != nil {
		b = appendKeyValue(appendLength(b, eventPrevKV, prev), previous)
	}
	return &Event{Revision: c.Revision.Main, field: mem.SliceBuffer(b), size: len(b)}
}

func keyValueSize(kv *statemachine.KeyValue) int {
	return bytesFieldSize(kvKey, kv.Key) +
		varintFieldSize(kvCreateRevision, kv.CreateRevision) +
		varintFieldSize(kvModRevision, kv.Revision.Main) +
		varintFieldSize(kvVersion, kv.Version) +
		bytesFieldSize(kvValue, kv.Value) +
		varintFieldSize(kvLease, kv.Lease)
}

func appendKeyValue(b []byte, kv *statemachine.KeyValue) []byte {
	b = appendBytes(b, kvKey, kv.Key)
	b = appendVarint(b, kvCreateRevision, kv.CreateRevision)
	b = appendVarint(b, kvModRevision, kv.Revision.Main)
	b = appendVarint(b, kvVersion, kv.Version)
	b = appendBytes(b, kvValue, kv.Value)
	return appendVarint(b, kvLease, kv.Lease)
}

// Zero values are left out, as in every proto3 message.

func varintFieldSize(n protowire.Number, v int64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(n) + protowire.SizeVarint(uint64(v))
}

func bytesFieldSize(n protowire.Number, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return lengthFieldSize(n, len(v))
}

func lengthFieldSize(n protowire.Number, length int) int {
	return protowire.SizeTag(n) + protowire.SizeBytes(length)
}

func appendVarint(b []byte, n protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendLength(b []byte, n protowire.Number, length int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(length))
}
