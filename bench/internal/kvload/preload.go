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

// preloadClients is enough to keep a three-node cluster busy.
const preloadClients = 64

// Preload writes every key of the key space once. The first failure ends it:
// a run on half the keys would measure something else.
func (w *Workload) Preload(ctx context.Context, timeout time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	var drawn atomic.Int64
	clients := min(preloadClients, w.spec.Keys)
	for id := range clients {
		group.Go(func() error {
			kv := etcdserverpb.NewKVClient(w.conns.of(id, clients)[0])
			rng := rand.New(rand.NewPCG(w.spec.Seed, uint64(id)))
			for {
				n := int(drawn.Add(1) - 1)
				if n >= w.spec.Keys {
					return nil
				}
				if err := w.preloadKey(ctx, timeout, kv, n, rng); err != nil {
					return fmt.Errorf("preloading key %d of %d: %w", n+1, w.spec.Keys, err)
				}
			}
		})
	}
	return group.Wait()
}

func (w *Workload) preloadKey(ctx context.Context, timeout time.Duration, kv etcdserverpb.KVClient, n int, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return w.put(ctx, kv, n, rng)
}
