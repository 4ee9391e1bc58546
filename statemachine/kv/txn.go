package kv

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/mvcc"
)

// plan is a transaction with all its comparisons made: which branch it takes,
// and the same for the transactions nested in that branch, in order. etcd
// compares everything, nested or not, before the first change.
type plan struct {
	request   *pb.TxnRequest
	succeeded bool
	nested    []*plan
}

func (p *plan) operations() []*pb.RequestOp {
	if p.succeeded {
		return p.request.GetSuccess()
	}
	return p.request.GetFailure()
}

func makePlan(r mvcc.Reader, req *pb.TxnRequest) (*plan, error) {
	succeeded, err := compareAll(r, req.GetCompare())
	if err != nil {
		return nil, err
	}
	p := &plan{request: req, succeeded: succeeded}
	for _, op := range p.operations() {
		nested, ok := op.GetRequest().(*pb.RequestOp_RequestTxn)
		if !ok {
			continue
		}
		n, err := makePlan(r, nested.RequestTxn)
		if err != nil {
			return nil, err
		}
		p.nested = append(p.nested, n)
	}
	return p, nil
}

// check refuses what the planned operations cannot do, before any is done.
// before are the changes that come earlier in the same transaction; check adds
// those of p.
func (p *plan) check(r mvcc.Reader, leases Leases, before *changes) error {
	nested := p.nested
	for _, op := range p.operations() {
		var err error
		switch req := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			err = checkTxnRange(r, req.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = checkPutInTxn(r, leases, before, req.RequestPut)
			before.add(op)
		case *pb.RequestOp_RequestDeleteRange:
			if len(req.RequestDeleteRange.GetKey()) == 0 {
				err = ErrEmptyKey
			}
			before.add(op)
		case *pb.RequestOp_RequestTxn:
			err = nested[0].check(r, leases, before)
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPutInTxn also refuses to keep the value or lease of a key that the
// transaction has deleted by then; etcd 3.7 panics there.
func checkPutInTxn(r mvcc.Reader, leases Leases, before *changes, req *pb.PutRequest) error {
	if err := checkPut(r, leases, req); err != nil {
		return err
	}
	if (req.GetIgnoreValue() || req.GetIgnoreLease()) && before.deletes(req.GetKey()) {
		return ErrKeyNotFound
	}
	return nil
}

// checkTxnRange differs from the check of a range of its own, as in etcd: a
// negative revision is not taken for the newest one once there was a
// compaction.
func checkTxnRange(r mvcc.Reader, req *pb.RangeRequest) error {
	if len(req.GetKey()) == 0 {
		return ErrEmptyKey
	}
	if req.GetRevision() == 0 {
		return nil
	}
	return mvcc.CheckRevision(r, req.GetRevision())
}

// execution runs a plan. w is nil in a transaction that only reads.
type execution struct {
	ctx    context.Context
	r      mvcc.Reader
	counts *Counts // nil in one that writes
	budget *Budget // nil in one that writes: it must end alike everywhere
	w      *mvcc.Writer
	leases Leases // nil in one that only reads, which has no puts
}

func (e *execution) run(p *plan) (*pb.TxnResponse, error) {
	operations := p.operations()
	resp := &pb.TxnResponse{
		// The header of a nested transaction stays empty, as in etcd.
		Header:    &pb.ResponseHeader{},
		Succeeded: p.succeeded,
		Responses: make([]*pb.ResponseOp, len(operations)),
	}
	nested := p.nested
	for i, op := range operations {
		var next *plan
		if _, ok := op.GetRequest().(*pb.RequestOp_RequestTxn); ok {
			next, nested = nested[0], nested[1:]
		}
		out, err := e.operation(op, next)
		if err != nil {
			return nil, err
		}
		resp.Responses[i] = out
	}
	return resp, nil
}

// operation runs one operation; next is its plan if it is a transaction. An
// empty union does nothing.
func (e *execution) operation(op *pb.RequestOp, next *plan) (*pb.ResponseOp, error) {
	out := &pb.ResponseOp{}
	switch req := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		resp, err := executeRange(e.ctx, e.r, e.counts, e.budget, req.RequestRange)
		if err != nil {
			return nil, err
		}
		out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: resp}
	case *pb.RequestOp_RequestPut:
		resp, err := executePut(e.w, req.RequestPut)
		if err != nil {
			return nil, err
		}
		out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: resp}
	case *pb.RequestOp_RequestDeleteRange:
		resp, err := executeDelete(e.w, req.RequestDeleteRange)
		if err != nil {
			return nil, err
		}
		out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: resp}
	case *pb.RequestOp_RequestTxn:
		resp, err := e.run(next)
		if err != nil {
			return nil, err
		}
		out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: resp}
	}
	return out, nil
}

// Txn applies a transaction.
func Txn(w *mvcc.Writer, leases Leases, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	// Apply is not interrupted: how far it came would depend on time.
	resp, err := transact(&execution{ctx: context.Background(), r: w, w: w, leases: leases}, req)
	w.EndTransaction()
	return resp, err
}

// ReadTxn answers a transaction that only reads.
func ReadTxn(ctx context.Context, r mvcc.Reader, counts *Counts, budget *Budget, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	if !IsReadOnly(req) {
		return nil, ErrNotReadOnly
	}
	return transact(&execution{ctx: ctx, r: r, counts: counts, budget: budget}, req)
}

func transact(e *execution, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	p, err := makePlan(e.r, req)
	if err != nil {
		return nil, err
	}
	if err := p.check(e.r, e.leases, &changes{}); err != nil {
		return nil, err
	}
	resp, err := e.run(p)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = e.r.Revision()
	return resp, nil
}

// IsReadOnly tells that a transaction needs no log entry. One with a nested
// transaction always does, as in etcd.
func IsReadOnly(req *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{req.GetSuccess(), req.GetFailure()} {
		for _, op := range branch {
			if _, ok := op.GetRequest().(*pb.RequestOp_RequestRange); !ok {
				return false
			}
		}
	}
	return true
}

// Grows tells whether any operation of a transaction, whichever branch it
// takes, may make the key space larger.
func Grows(req *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{req.GetSuccess(), req.GetFailure()} {
		for _, op := range branch {
			if op.GetRequestPut() != nil || Grows(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}
