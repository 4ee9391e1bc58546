package statemachine

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/kv"
	"raftkv/statemachine/mvcc"
)

// Range answers a range request from the state as it is now; ErrResponseTooLarge
// if that takes more than Options.ResponseBytesMax.
func (m *Machine) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	if kv.AsksForNewest(req) {
		resp, known, err := m.rangeHot(ctx, req)
		if known || err != nil {
			return resp, err
		}
	}
	return read(m, func(s *mvcc.Snapshot, counts *kv.Counts) (*pb.RangeResponse, error) {
		return kv.Range(ctx, s, counts, kv.NewBudget(m.opts.ResponseBytesMax), req)
	})
}

// rangeHot answers a request for one key without looking for it in the database, if
// it is known.
func (m *Machine) rangeHot(ctx context.Context, req *pb.RangeRequest) (resp *pb.RangeResponse, known bool, err error) {
	v, err := m.acquireView()
	if err != nil {
		return nil, false, err
	}
	defer v.handle.Release()
	found, exists, known := v.hot.Get(req.GetKey(), v.revision)
	switch {
	case !known:
		return nil, false, nil
	case ctx.Err() != nil:
		return nil, true, ctx.Err()
	case !exists:
		resp, err = kv.RangeKnown(nil, req, v.revision, nil)
	default:
		resp, err = kv.RangeKnown(kv.NewBudget(m.opts.ResponseBytesMax), req, v.revision, &found)
	}
	return resp, true, err
}

// ReadTxn answers a transaction that only reads. Others are refused with
// ErrNotReadOnly.
func (m *Machine) ReadTxn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	return read(m, func(s *mvcc.Snapshot, counts *kv.Counts) (*pb.TxnResponse, error) {
		return kv.ReadTxn(ctx, s, counts, kv.NewBudget(m.opts.ResponseBytesMax), req)
	})
}

// GetKeys calls visit with each key as it is now, all at one revision, which it
// returns. kv is nil for a key that is missing or empty, and valid during the
// call. An error of visit ends it.
func (m *Machine) GetKeys(list [][]byte, visit func(i int, kv *mvcc.KeyValue) error) (revision int64, err error) {
	if revision, known, err := m.getHot(list, visit); known || err != nil {
		return revision, err
	}
	out, err := read(m, func(s *mvcc.Snapshot, _ *kv.Counts) (*int64, error) {
		revision := s.Revision()
		for i, key := range list {
			var found bool
			var value mvcc.KeyValue
			if len(key) > 0 {
				var err error
				if value, found, err = s.Get(key, revision); err != nil {
					return nil, err
				}
			}
			entry := &value
			if !found {
				entry = nil
			}
			if err := visit(i, entry); err != nil {
				return nil, err
			}
		}
		return &revision, nil
	})
	if err != nil {
		return 0, err
	}
	return *out, nil
}

// getHot is GetKeys if all keys are known without looking for them in the database.
func (m *Machine) getHot(list [][]byte, visit func(i int, kv *mvcc.KeyValue) error) (revision int64, known bool, err error) {
	v, err := m.acquireView()
	if err != nil {
		return 0, false, err
	}
	defer v.handle.Release()
	var found []mvcc.KeyValue // without a revision: it does not exist
	for i, key := range list {
		if len(key) == 0 {
			continue
		}
		entry, exists, known := v.hot.Get(key, v.revision)
		if !known {
			return 0, false, nil
		}
		if found == nil {
			found = make([]mvcc.KeyValue, len(list))
		}
		if exists {
			found[i] = entry
		}
	}
	for i := range list {
		var entry *mvcc.KeyValue
		if found != nil && found[i].Revision.Main > 0 {
			entry = &found[i]
		}
		if err := visit(i, entry); err != nil {
			return 0, true, err
		}
	}
	return v.revision, true, nil
}

// acquireView returns the newest view with its database acquired: the caller
// releases the handle.
func (m *Machine) acquireView() (*view, error) {
	for {
		v := m.view.Load()
		if !v.initialized {
			return nil, ErrNotInitialized
		}
		// A database that was replaced has a newer view, or soon will.
		h, err := m.store.Acquire()
		if err != nil {
			return nil, err
		}
		if h == v.handle {
			return v, nil
		}
		h.Release()
	}
}

// read runs f on a snapshot of the newest state.
func read[T any](m *Machine, f func(*mvcc.Snapshot, *kv.Counts) (*T, error)) (*T, error) {
	for {
		v, err := m.acquireView()
		if err != nil {
			return nil, err
		}
		s, err := mvcc.NewSnapshot(v.handle.DB(), v.revision)
		if err != nil {
			v.handle.Release()
			return nil, err
		}
		s.Remember(v.hot)
		// Loaded after the snapshot was taken, so that it covers whatever the
		// snapshot misses.
		compacted := m.view.Load().compacted
		s.SetCompacted(compacted)
		var resp *T
		overtaken := compacted > v.revision
		if !overtaken {
			resp, err = f(s, v.counts)
		}
		err = errors.Join(err, s.Close())
		m.store.Damaged(v.handle, err)
		v.handle.Release()
		if !overtaken || err != nil {
			return resp, err
		}
	}
}
