package kvload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
)

const (
	// preloadClients is enough to keep a three-node cluster busy.
	preloadClients = 64
	// From batchedFrom writes on a preload packs batchKeys of them into one
	// transaction, which a server takes a hundred times as fast.
	batchedFrom, batchKeys = 200_000, 100
)

// Preload writes every key of the key space, as often as the spec says. The
// first failure ends it: a run on half the keys would measure something else.
func (w *Workload) Preload(ctx context.Context, timeout time.Duration) error {
	batch := 1
	if w.spec.Keys*max(1, w.spec.Versions) >= batchedFrom {
		batch = batchKeys
	}
	for range max(1, w.spec.Versions) {
		if err := w.Rewrite(ctx, timeout, batch); err != nil {
			return err
		}
	}
	return nil
}

// Rewrite writes every key once, batch of them in a transaction.
func (w *Workload) Rewrite(ctx context.Context, timeout time.Duration, batch int) error {
	group, ctx := errgroup.WithContext(ctx)
	var drawn atomic.Int64
	clients := min(preloadClients, w.spec.Keys)
	for id := range clients {
		group.Go(func() error {
			kv := etcdserverpb.NewKVClient(w.conns.of(id, clients)[0])
			rng := rand.New(rand.NewPCG(w.spec.Seed, uint64(id)))
			for {
				n := int(drawn.Add(int64(batch))) - batch
				if n >= w.spec.Keys {
					return nil
				}
				if err := w.preloadKeys(ctx, timeout, kv, n, min(n+batch, w.spec.Keys), rng); err != nil {
					return fmt.Errorf("preloading from key %d of %d: %w", n+1, w.spec.Keys, err)
				}
			}
		})
	}
	return group.Wait()
}

// preloadKeys writes keys [from, to).
func (w *Workload) preloadKeys(ctx context.Context, timeout time.Duration, kv etcdserverpb.KVClient, from, to int, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if to == from+1 {
		return w.put(ctx, kv, from, rng)
	}
	resp, err := kv.Txn(ctx, w.putAll(from, to, rng))
	return succeeded(resp, err)
}

// putAll is a transaction that puts keys [from, to).
func (w *Workload) putAll(from, to int, rng *rand.Rand) *etcdserverpb.TxnRequest {
	txn := &etcdserverpb.TxnRequest{}
	for n := from; n < to; n++ {
		txn.Success = append(txn.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{
			RequestPut: &etcdserverpb.PutRequest{Key: presentKey(n), Value: w.pool.value(rng)},
		}})
	}
	return txn
}

func succeeded(resp *etcdserverpb.TxnResponse, err error) error {
	if err == nil && !resp.GetSucceeded() {
		return fmt.Errorf("%w: a transaction without conditions failed", errWrongAnswer)
	}
	return err
}
