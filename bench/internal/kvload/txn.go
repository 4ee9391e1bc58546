package kvload

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// txn puts a key and reads what it was, on the condition that it exists, which
// it must.
func (c *client) txn(ctx context.Context) (int, error) {
	key := presentKey(c.key())
	resp, err := c.member().Txn(ctx, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{{
			Key: key, Target: etcdserverpb.Compare_VERSION, Result: etcdserverpb.Compare_GREATER,
			TargetUnion: &etcdserverpb.Compare_Version{Version: 0},
		}},
		Success: []*etcdserverpb.RequestOp{
			{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: &etcdserverpb.RangeRequest{Key: key}}},
			{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{
				Key: key, Value: c.workload.pool.value(c.rng),
			}}},
		},
	})
	if err != nil {
		return 0, err
	}
	if !resp.GetSucceeded() || len(resp.GetResponses()) != 2 {
		return 0, fmt.Errorf("%w: the transaction on %s succeeded: %t, with %d results", errWrongAnswer,
			key, resp.GetSucceeded(), len(resp.GetResponses()))
	}
	return 0, checkGet(c.workload.spec, key, resp.GetResponses()[0].GetResponseRange())
}

// txnMixed reads or writes one key in a transaction without a condition.
func (c *client) txnMixed(ctx context.Context) (int, error) {
	w, key := c.workload, presentKey(c.key())
	kind, op := w.putKind, &etcdserverpb.RequestOp{}
	if c.rng.IntN(100) < w.spec.ReadPercent {
		kind = w.getKind
		op.Request = &etcdserverpb.RequestOp_RequestRange{RequestRange: &etcdserverpb.RangeRequest{Key: key}}
	} else {
		op.Request = &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: key, Value: w.pool.value(c.rng)}}
	}
	resp, err := c.member().Txn(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{op}})
	switch {
	case err != nil:
		return kind, err
	case !resp.GetSucceeded() || len(resp.GetResponses()) != 1:
		return kind, fmt.Errorf("%w: the transaction on %s succeeded: %t, with %d results", errWrongAnswer,
			key, resp.GetSucceeded(), len(resp.GetResponses()))
	case op.GetRequestRange() != nil:
		return kind, checkGet(w.spec, key, resp.GetResponses()[0].GetResponseRange())
	}
	return kind, nil
}
