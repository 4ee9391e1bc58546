package oracle

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// txn is a transaction of any form.
func (g *Generator) txn() *pb.TxnRequest {
	switch g.pick(91, 4, 2, 3) {
	case 0:
		t := txnGenerator{Generator: g, changed: map[string]bool{}, reads: g.percent(25), careless: g.percent(8)}
		return t.txn(3)
	case 1:
		return g.wideTxn()
	case 2:
		return g.deepTxn([]int{2, 5, txnOpsMax - 1, txnOpsMax, txnOpsMax + 1}[g.rng.IntN(5)])
	default:
		return g.rewritingTxn()
	}
}

// txnGenerator makes one transaction with all that is nested in it.
type txnGenerator struct {
	*Generator
	changed map[string]bool // keys that are put or deleted already
	reads   bool            // nothing but ranges
	// careless is a transaction that changes, nested or not, and does not mind
	// what it has changed already.
	careless bool
}

// txn is a transaction with at most depth levels below it.
func (t *txnGenerator) txn(depth int) *pb.TxnRequest {
	return &pb.TxnRequest{Compare: t.compares(), Success: t.branch(depth), Failure: t.branch(depth)}
}

func (t *txnGenerator) compares() []*pb.Compare {
	compares := make([]*pb.Compare, t.pick(25, 50, 20, 5))
	for i := range compares {
		compares[i] = t.compare()
	}
	return compares
}

func (t *txnGenerator) branch(depth int) []*pb.RequestOp {
	ops := make([]*pb.RequestOp, t.pick(15, 35, 25, 15, 10))
	for i := range ops {
		ops[i] = t.op(depth)
	}
	return ops
}

func (t *txnGenerator) op(depth int) *pb.RequestOp {
	if t.reads {
		return rangeOp(t.readInTxn())
	}
	read, nested := 350, 120
	if t.careless {
		read, nested = 0, 350
	}
	if depth == 0 {
		nested = 0
	}
	switch t.pick(read, 400, 120, nested, 2) {
	case 0:
		return rangeOp(t.readInTxn())
	case 1:
		return putOp(t.putInTxn())
	case 2:
		return deleteOp(t.deleteInTxn())
	case 3:
		return txnOp(t.txn(depth - 1))
	default:
		return &pb.RequestOp{} // neither of them
	}
}

// readInTxn asks less often for a revision that does not exist, which would
// refuse the whole transaction.
func (t *txnGenerator) readInTxn() *pb.RangeRequest {
	r := t.rangeRequest()
	if r.Revision != 0 && t.percent(80) {
		r.Revision = t.pastRevision()
	}
	if _, known := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]; !known && t.percent(80) {
		r.SortOrder = pb.RangeRequest_NONE
	}
	return r
}

// unchangedKey is mostly one that the transaction does not change yet.
func (t *txnGenerator) unchangedKey() []byte {
	if t.careless {
		return []byte(t.keys[5+t.rng.IntN(6)])
	}
	key := t.key()
	for try := 0; try < 5 && t.changed[string(key)]; try++ {
		key = t.key()
	}
	t.changed[string(key)] = true
	return key
}

func (t *txnGenerator) putInTxn() *pb.PutRequest {
	r := t.put(t.unchangedKey())
	// One refusal would refuse the whole transaction.
	if t.percent(60) {
		r.IgnoreValue, r.IgnoreLease, r.Lease = false, false, 0
	}
	return r
}

func (t *txnGenerator) deleteInTxn() *pb.DeleteRangeRequest {
	if t.percent(75) {
		return &pb.DeleteRangeRequest{Key: t.unchangedKey(), PrevKv: t.percent(40)}
	}
	return t.deleteRange()
}

// compare is about a version that was seen, more often than not, so that it
// holds now and then.
func (g *Generator) compare() *pb.Compare {
	c := &pb.Compare{
		Target: pb.Compare_CompareTarget(g.rng.IntN(len(pb.Compare_CompareTarget_name))),
		Result: pb.Compare_CompareResult(g.rng.IntN(len(pb.Compare_CompareResult_name))),
		Key:    g.key(),
	}
	if g.percent(25) {
		c.Key, c.RangeEnd = g.span()
	}
	union := c.Target
	switch g.pick(94, 2, 2, 2) {
	case 1: // a value of another kind
		union = pb.Compare_CompareTarget(g.rng.IntN(len(pb.Compare_CompareTarget_name)))
	case 2:
		c.Result = 9
	case 3:
		c.Target, union = 9, -1
	}
	g.compareWith(c, union)
	return c
}

func (g *Generator) compareWith(c *pb.Compare, union pb.Compare_CompareTarget) {
	kv := g.seen[string(c.Key)]
	off := int64(g.pick(20, 60, 20) - 1)
	switch union {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: kv.GetVersion() + off}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: kv.GetCreateRevision() + off}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: kv.GetModRevision() + off}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: []int64{off, kv.GetLease(), g.liveLease()}[g.rng.IntN(3)]}
	case pb.Compare_VALUE:
		value := kv.GetValue()
		if off != 0 {
			value = g.value()
		}
		c.TargetUnion = &pb.Compare_Value{Value: value}
	}
}

// wideTxn has about as many operations as are allowed, at one level or two.
func (g *Generator) wideTxn() *pb.TxnRequest {
	many := func(n int, one func(i int) *pb.RequestOp) []*pb.RequestOp {
		ops := make([]*pb.RequestOp, n)
		for i := range ops {
			ops[i] = one(i)
		}
		return ops
	}
	read := func(int) *pb.RequestOp { return rangeOp(&pb.RangeRequest{Key: g.key(), CountOnly: true}) }
	write := func(i int) *pb.RequestOp {
		return putOp(&pb.PutRequest{Key: fmt.Appendf(nil, "wide/%03d", i), Value: []byte{byte(i)}})
	}
	n := txnOpsMax + g.rng.IntN(3) - 1
	switch g.pick(25, 25, 25, 25) {
	case 0:
		return &pb.TxnRequest{Success: many(n, write), Failure: many(3, read)}
	case 1:
		return &pb.TxnRequest{Compare: []*pb.Compare{g.compare()}, Failure: many(n, read)}
	case 2:
		t := &pb.TxnRequest{Compare: make([]*pb.Compare, n)}
		for i := range t.Compare {
			t.Compare[i] = &pb.Compare{Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER}
		}
		return t
	default: // the limit is on both levels together
		inner := 1 + g.rng.IntN(20)
		outer := many(n-inner, write)
		outer[g.rng.IntN(len(outer))] = txnOp(&pb.TxnRequest{Success: many(inner, read)})
		return &pb.TxnRequest{Success: outer}
	}
}

// deepTxn is one operation in as many transactions.
func (g *Generator) deepTxn(levels int) *pb.TxnRequest {
	op := putOp(&pb.PutRequest{Key: g.key(), Value: g.value()})
	for range levels - 1 {
		op = txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{op}})
	}
	return &pb.TxnRequest{Success: []*pb.RequestOp{op}}
}

// rewritingTxn deletes by an open range, which no check of conflicting keys
// understands, and puts some keys again, often the only ones left.
func (g *Generator) rewritingTxn() *pb.TxnRequest {
	first := []byte{0}
	if g.percent(40) {
		first = []byte(g.keys[g.rng.IntN(len(g.keys))])
	}
	ops := []*pb.RequestOp{deleteOp(&pb.DeleteRangeRequest{Key: first, RangeEnd: []byte{0}, PrevKv: g.percent(40)})}
	for i := range 1 + g.rng.IntN(2) {
		ops = append(ops, putOp(&pb.PutRequest{Key: []byte(g.keys[5+i+g.rng.IntN(4)*2]), Value: g.value(), PrevKv: g.percent(25)}))
	}
	if g.percent(15) {
		ops = append(ops, ops[0])
	}
	return &pb.TxnRequest{Success: ops}
}
