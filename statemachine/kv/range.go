package kv

import (
	"bytes"
	"context"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/statemachine/mvcc"
)

// checkEvery is how many keys a scan visits between two looks at its context.
const checkEvery = 256

// isPoint tells a request for one key from one for a span.
func isPoint(rangeEnd []byte) bool { return len(rangeEnd) == 0 }

// spanOf translates etcd's range end: "\x00" stands for the end of the key
// space.
func spanOf(key, rangeEnd []byte) mvcc.Span {
	if len(rangeEnd) == 1 && rangeEnd[0] == 0 {
		return mvcc.Span{Start: key}
	}
	return mvcc.Span{Start: key, End: rangeEnd}
}

// visitAll calls visit for the key, or every key of the span, that existed at
// revision.
func visitAll(r mvcc.Reader, key, rangeEnd []byte, revision int64, visit func(*mvcc.KeyValue) (bool, error)) error {
	if !isPoint(rangeEnd) {
		return r.Scan(spanOf(key, rangeEnd), revision, visit)
	}
	kv, found, err := r.Get(key, revision)
	if err != nil || !found {
		return err
	}
	_, err = visit(&kv)
	return err
}

// toProto copies a key value out of the reader's memory.
func toProto(kv *mvcc.KeyValue) *mvccpb.KeyValue {
	out := withoutValue(kv)
	out.Value = bytes.Clone(kv.Value)
	out.Lease = kv.Lease
	return out
}

// withoutValue is the answer to a keys-only request. etcd takes it from its
// index, which does not know the lease.
func withoutValue(kv *mvcc.KeyValue) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key:            bytes.Clone(kv.Key),
		CreateRevision: kv.CreateRevision,
		ModRevision:    kv.Revision.Main,
		Version:        kv.Version,
	}
}

// Range answers a range request. A revision below 0 reads the newest one, as
// in etcd. counts and budget may be nil.
func Range(ctx context.Context, r mvcc.Reader, counts *Counts, budget *Budget, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	if len(req.GetKey()) == 0 {
		return nil, ErrEmptyKey
	}
	if req.GetRevision() > 0 {
		if err := mvcc.CheckRevision(r, req.GetRevision()); err != nil {
			return nil, err
		}
	}
	return executeRange(ctx, r, counts, budget, req)
}

func executeRange(ctx context.Context, r mvcc.Reader, counts *Counts, budget *Budget, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	revision := req.GetRevision()
	if revision <= 0 {
		revision = r.Revision()
	}
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: r.Revision()}}
	var err error
	switch {
	case isPoint(req.GetRangeEnd()):
		err = executeScan(ctx, r, budget, req, revision, resp)
	case req.GetCountOnly():
		resp.Count, err = countSpan(ctx, r, counts, req.GetKey(), req.GetRangeEnd(), revision)
	case req.GetLimit() > 0 && limitsFirst(req) && !hasFilters(req):
		err = executePage(ctx, r, counts, budget, req, revision, resp)
	default:
		err = executeScan(ctx, r, budget, req, revision, resp)
	}
	if err != nil {
		return nil, err
	}
	finish(req, resp)
	return resp, nil
}

// finish sorts and cuts what was collected.
func finish(req *pb.RangeRequest, resp *pb.RangeResponse) {
	if needsSort(req) {
		sortKeys(resp.Kvs, req)
	}
	// Count is of all keys in the range, whatever limits and filters leave.
	if limit := req.GetLimit(); limit > 0 && int64(len(resp.Kvs)) > limit {
		resp.Kvs, resp.More = resp.Kvs[:limit], true
	}
	if req.GetKeysOnly() {
		for _, kv := range resp.Kvs {
			kv.Value = nil
		}
	}
}

// AsksForNewest tells whether a request is for one key as it is now.
func AsksForNewest(req *pb.RangeRequest) bool {
	return len(req.GetKey()) > 0 && isPoint(req.GetRangeEnd()) && req.GetRevision() <= 0
}

// RangeKnown answers a request that AsksForNewest: revision is the newest one, and
// found the key at it, nil if it does not exist.
func RangeKnown(budget *Budget, req *pb.RangeRequest, revision int64, found *mvcc.KeyValue) (*pb.RangeResponse, error) {
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: revision}}
	if found == nil {
		return resp, nil
	}
	if err := add(resp, collector(req)(found), budget); err != nil {
		return nil, err
	}
	finish(req, resp)
	return resp, nil
}

// executeScan visits every key of the range.
func executeScan(ctx context.Context, r mvcc.Reader, budget *Budget, req *pb.RangeRequest, revision int64, resp *pb.RangeResponse) error {
	keep := collector(req)
	return visitAll(r, req.GetKey(), req.GetRangeEnd(), revision, func(kv *mvcc.KeyValue) (bool, error) {
		if resp.Count%checkEvery == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		return true, add(resp, keep(kv), budget)
	})
}

// add counts a key of the range, and collects it unless it is nil.
func add(resp *pb.RangeResponse, kv *mvccpb.KeyValue, budget *Budget) error {
	resp.Count++
	if kv == nil {
		return nil
	}
	resp.Kvs = append(resp.Kvs, kv)
	return budget.take(kv)
}

// executePage visits the keys up to the limit and one more, and counts the rest
// only if nobody has counted it before.
func executePage(ctx context.Context, r mvcc.Reader, counts *Counts, budget *Budget, req *pb.RangeRequest, revision int64, resp *pb.RangeResponse) error {
	limit, keep, full := req.GetLimit(), collector(req), false
	var last []byte // the last key within the limit
	err := visitAll(r, req.GetKey(), req.GetRangeEnd(), revision, func(kv *mvcc.KeyValue) (bool, error) {
		if resp.Count%checkEvery == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		if full = resp.Count == limit; full {
			last = resp.Kvs[limit-1].Key
			resp.Kvs = append(resp.Kvs, keep(kv))
			return false, nil
		}
		resp.Count++
		out := keep(kv)
		resp.Kvs = append(resp.Kvs, out)
		return true, budget.take(out)
	})
	if err != nil || !full {
		return err
	}
	rest := append(bytes.Clone(last), 0) // the first key that may follow
	if total, ok := counts.get(req.GetKey(), req.GetRangeEnd(), revision); ok {
		resp.Count = total
		counts.add(rest, req.GetRangeEnd(), revision, total-limit)
		return nil
	}
	n, err := countSpan(ctx, r, counts, rest, req.GetRangeEnd(), revision)
	resp.Count += n
	if err == nil {
		counts.add(req.GetKey(), req.GetRangeEnd(), revision, resp.Count)
	}
	return err
}

func countSpan(ctx context.Context, r mvcc.Reader, counts *Counts, key, rangeEnd []byte, revision int64) (int64, error) {
	if n, ok := counts.get(key, rangeEnd, revision); ok {
		return n, nil
	}
	n, err := r.Count(spanOf(key, rangeEnd), revision, ctx.Err)
	if err == nil {
		counts.add(key, rangeEnd, revision, n)
	}
	return n, err
}

// collector returns a function that gives the answer's form of a key value, or
// nil for one that is only counted.
func collector(req *pb.RangeRequest) func(*mvcc.KeyValue) *mvccpb.KeyValue {
	if req.GetCountOnly() {
		return func(*mvcc.KeyValue) *mvccpb.KeyValue { return nil }
	}
	form := toProto
	if req.GetKeysOnly() && req.GetSortTarget() != pb.RangeRequest_VALUE {
		form = withoutValue
	}
	if !hasFilters(req) {
		return form
	}
	return func(kv *mvcc.KeyValue) *mvccpb.KeyValue {
		if !passes(kv, req) {
			return nil
		}
		return form(kv)
	}
}

func hasFilters(req *pb.RangeRequest) bool {
	return req.GetMinModRevision() != 0 || req.GetMaxModRevision() != 0 ||
		req.GetMinCreateRevision() != 0 || req.GetMaxCreateRevision() != 0
}

// passes applies the revision filters; 0 means no bound.
func passes(kv *mvcc.KeyValue, req *pb.RangeRequest) bool {
	within := func(v, lowest, highest int64) bool {
		return (lowest == 0 || v >= lowest) && (highest == 0 || v <= highest)
	}
	return within(kv.Revision.Main, req.GetMinModRevision(), req.GetMaxModRevision()) &&
		within(kv.CreateRevision, req.GetMinCreateRevision(), req.GetMaxCreateRevision())
}

// limitsFirst tells that a limit applies while scanning.
func limitsFirst(req *pb.RangeRequest) bool {
	return req.GetSortOrder() == pb.RangeRequest_NONE ||
		(req.GetSortTarget() == pb.RangeRequest_KEY && req.GetSortOrder() == pb.RangeRequest_ASCEND)
}

// needsSort tells that the order of a scan is not the one asked for. A target
// without an order sorts ascending, but only what a limit left: so does etcd.
func needsSort(req *pb.RangeRequest) bool {
	return req.GetSortTarget() != pb.RangeRequest_KEY || req.GetSortOrder() == pb.RangeRequest_DESCEND
}

func sortKeys(kvs []*mvccpb.KeyValue, req *pb.RangeRequest) {
	var by sort.Interface = byTarget{kvs: kvs, compare: comparison(req.GetSortTarget())}
	if req.GetSortOrder() == pb.RangeRequest_DESCEND {
		by = sort.Reverse(by)
	}
	// Not stable, and on purpose the same algorithm as etcd's: keys that
	// compare equal come out in the same order there and here.
	sort.Sort(by)
}
