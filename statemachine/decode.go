package statemachine

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers of etcdserverpb.PutRequest.
const (
	putKey         = 1
	putValue       = 2
	putLease       = 3
	putPrevKv      = 4
	putIgnoreValue = 5
	putIgnoreLease = 6
)

// decodePut decodes a put, the command of the hot path, like proto.Unmarshal
// but into a message that is reused, and without copying key and value: they
// alias data, which is a log entry and never changes. A message with anything
// but the known fields goes the long way.
func decodePut(data []byte, req *pb.PutRequest) error {
	if decodePlainPut(data, req) {
		return nil
	}
	if err := proto.Unmarshal(data, req); err != nil {
		return fmt.Errorf("%w: put: %w", ErrMalformedEntry, err)
	}
	return nil
}

func decodePlainPut(data []byte, req *pb.PutRequest) bool {
	req.Key, req.Value, req.Lease = nil, nil, 0
	req.PrevKv, req.IgnoreValue, req.IgnoreLease = false, false, false
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return false
		}
		data = data[n:]
		switch {
		case typ == protowire.BytesType && num == putKey:
			req.Key, n = protowire.ConsumeBytes(data)
		case typ == protowire.BytesType && num == putValue:
			req.Value, n = protowire.ConsumeBytes(data)
		case typ == protowire.VarintType && num >= putLease && num <= putIgnoreLease:
			var v uint64
			v, n = protowire.ConsumeVarint(data)
			setPutVarint(req, num, v)
		default:
			return false
		}
		if n < 0 {
			return false
		}
		data = data[n:]
	}
	return true
}

func setPutVarint(req *pb.PutRequest, num protowire.Number, v uint64) {
	switch num {
	case putLease:
		req.Lease = int64(v)
	case putPrevKv:
		req.PrevKv = v != 0
	case putIgnoreValue:
		req.IgnoreValue = v != 0
	case putIgnoreLease:
		req.IgnoreLease = v != 0
	}
}
