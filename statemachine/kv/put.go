package kv

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/statemachine/mvcc"
)

// AppendedBytesMax bounds the value an append may lead to: the default limit
// of a request, so that what appends built can still be put. It is part of the
// command's meaning and must be the same on every member.
const AppendedBytesMax = 1536 << 10

// putResult keeps a put's answer and its header in one allocation.
type putResult struct {
	response pb.PutResponse
	header   pb.ResponseHeader
}

// Leases tells whether a lease exists.
type Leases interface {
	Exists(id int64) (bool, error)
}

// Put applies a put as a transaction of its own. The value of req must stay
// unchanged until the writer's batch ends.
func Put(w *mvcc.Writer, leases Leases, req *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(w, leases, req); err != nil {
		return nil, err
	}
	resp, err := executePut(w, req)
	w.EndTransaction()
	return resp, err
}

// checkPut refuses what cannot be done, in etcd's order: the lease first.
func checkPut(r mvcc.Reader, leases Leases, req *pb.PutRequest) error {
	if len(req.GetKey()) == 0 {
		return ErrEmptyKey
	}
	if err := checkLease(leases, req.GetLease()); err != nil {
		return err
	}
	if !req.GetIgnoreValue() && !req.GetIgnoreLease() {
		return nil
	}
	_, found, err := r.Get(req.Key, r.Revision())
	if err == nil && !found {
		err = ErrKeyNotFound
	}
	return err
}

func checkLease(leases Leases, id int64) error {
	if id == 0 {
		return nil
	}
	found, err := leases.Exists(id)
	if err == nil && !found {
		err = ErrLeaseNotFound
	}
	return err
}

func executePut(w *mvcc.Writer, req *pb.PutRequest) (*pb.PutResponse, error) {
	value, lease := req.GetValue(), req.GetLease()
	var prev *mvccpb.KeyValue
	if req.GetPrevKv() || req.GetIgnoreValue() || req.GetIgnoreLease() {
		kv, found, err := w.Get(req.GetKey(), w.Revision())
		if err != nil {
			return nil, err
		}
		if found {
			prev = toProto(&kv)
		}
	}
	// That the key exists was checked.
	if req.GetIgnoreValue() {
		value = prev.GetValue()
	}
	if req.GetIgnoreLease() {
		lease = prev.GetLease()
	}
	if err := w.Put(req.GetKey(), value, lease); err != nil {
		return nil, err
	}
	if !req.GetPrevKv() {
		prev = nil
	}
	return newPutResponse(w, prev), nil
}

func newPutResponse(w *mvcc.Writer, prev *mvccpb.KeyValue) *pb.PutResponse {
	r := &putResult{}
	r.header.Revision = w.Revision()
	r.response.Header, r.response.PrevKv = &r.header, prev
	return &r.response
}

// Append adds the value of req to the end of the key's value, creating the key
// if there is none. The key keeps its lease unless the request names another.
// Of the request's flags, PrevKv alone has a meaning.
func Append(w *mvcc.Writer, leases Leases, req *pb.PutRequest) (*pb.PutResponse, error) {
	if len(req.GetKey()) == 0 {
		return nil, ErrEmptyKey
	}
	if err := checkLease(leases, req.GetLease()); err != nil {
		return nil, err
	}
	kv, found, err := w.Get(req.GetKey(), w.Revision())
	if err != nil {
		return nil, err
	}
	if len(kv.Value)+len(req.GetValue()) > AppendedBytesMax {
		return nil, ErrValueTooLarge
	}
	var prev *mvccpb.KeyValue
	if found && req.GetPrevKv() {
		prev = toProto(&kv)
	}
	lease := kv.Lease
	if req.GetLease() != 0 {
		lease = req.GetLease()
	}
	if err := w.Put(req.GetKey(), slices.Concat(kv.Value, req.GetValue()), lease); err != nil {
		return nil, err
	}
	resp := newPutResponse(w, prev)
	w.EndTransaction()
	return resp, nil
}

// DeleteRange applies a deletion as a transaction of its own.
func DeleteRange(w *mvcc.Writer, req *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if len(req.GetKey()) == 0 {
		return nil, ErrEmptyKey
	}
	resp, err := executeDelete(w, req)
	w.EndTransaction()
	return resp, err
}

type doomedKey struct {
	key   []byte
	lease int64
}

func executeDelete(w *mvcc.Writer, req *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	resp := &pb.DeleteRangeResponse{}
	// The keys are collected first: a scan must not see its own deletions.
	var doomed []doomedKey
	err := visitAll(w, req.GetKey(), req.GetRangeEnd(), w.Revision(), func(kv *mvcc.KeyValue) (bool, error) {
		doomed = append(doomed, doomedKey{slices.Clone(kv.Key), kv.Lease})
		if req.GetPrevKv() {
			resp.PrevKvs = append(resp.PrevKvs, toProto(kv))
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, d := range doomed {
		if err := w.Delete(d.key, d.lease); err != nil {
			return nil, err
		}
	}
	resp.Deleted = int64(len(doomed))
	resp.Header = &pb.ResponseHeader{Revision: w.Revision()}
	return resp, nil
}

// DeleteAttached deletes keys, which exist and are attached to a lease, as one
// transaction. It returns the revision after it.
func DeleteAttached(w *mvcc.Writer, lease int64, attached [][]byte) (revision int64, err error) {
	for _, key := range attached {
		if err := w.Delete(key, lease); err != nil {
			return 0, err
		}
	}
	revision = w.Revision()
	w.EndTransaction()
	return revision, nil
}

// Compact makes revisions below that of req unreadable.
func Compact(w *mvcc.Writer, req *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := w.Compact(req.GetRevision()); err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: w.Revision()}}, nil
}
