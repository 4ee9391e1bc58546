package request

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/v3/adt"
)

// footprint is what the operations of one branch of a transaction change.
type footprint struct {
	puts    map[string]struct{}
	deletes adt.IntervalTree // nil while there are none
}

// branchFootprint collects what a branch changes and refuses keys that it
// would change twice, because the outcome of one revision must not depend on
// the order within it.
//
// The accepted set is etcd's, peculiarities included, so that a transaction
// means the same on both: deletes of this level count for nested puts; those
// of a nested transaction only for what follows it and for this level's own
// puts; deletes may overlap each other; and "from key" deletes (range_end
// "\x00") are an empty interval here. Hence the same interval tree, filled in
// the same order.
func branchFootprint(ops []*pb.RequestOp) (footprint, error) {
	var f footprint
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			f.addDelete(d)
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := f.addTxn(t); err != nil {
				return f, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := f.addPut(string(p.GetKey()), nil); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (f *footprint) addDelete(d *pb.DeleteRangeRequest) {
	interval := adt.NewStringAffinePoint(string(d.GetKey()))
	if len(d.GetRangeEnd()) != 0 {
		interval = adt.NewStringAffineInterval(string(d.GetKey()), string(d.GetRangeEnd()))
	}
	f.deletesTree().Insert(interval, nil)
}

// addTxn adds both branches of a nested transaction. Only one of them runs, so
// they may put the same key.
func (f *footprint) addTxn(t *pb.TxnRequest) error {
	success, err := branchFootprint(t.GetSuccess())
	if err != nil {
		return err
	}
	failure, err := branchFootprint(t.GetFailure())
	if err != nil {
		return err
	}
	for key := range success.puts {
		if err := f.addPut(key, nil); err != nil {
			return err
		}
	}
	for key := range failure.puts {
		if err := f.addPut(key, success.puts); err != nil {
			return err
		}
	}
	for _, branch := range [2]footprint{success, failure} {
		if branch.deletes != nil {
			f.deletesTree().Union(branch.deletes, adt.NewStringAffineInterval("\x00", ""))
		}
	}
	return nil
}

// addPut adds a put unless its key is changed already; keys of exempt may be
// put again.
func (f *footprint) addPut(key string, exempt map[string]struct{}) error {
	if _, twice := f.puts[key]; twice {
		if _, ok := exempt[key]; !ok {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	if f.deletes != nil && f.deletes.Intersects(adt.NewStringAffinePoint(key)) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	if f.puts == nil {
		f.puts = make(map[string]struct{})
	}
	f.puts[key] = struct{}{}
	return nil
}

func (f *footprint) deletesTree() adt.IntervalTree {
	if f.deletes == nil {
		f.deletes = adt.NewIntervalTree()
	}
	return f.deletes
}
