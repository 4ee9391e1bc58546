package kvload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fillCallers keep frames as large as a session allows.
const fillCallers = 256

// Fill writes keys [from, to) once each, batchKeys of them in a transaction, in
// order but for what is under way at the same time, through the sessions that Open
// made. The first failure ends it.
func (w *Workload) Fill(ctx context.Context, timeout time.Duration, from, to int) error {
	group, ctx := errgroup.WithContext(ctx)
	var drawn atomic.Int64
	drawn.Store(int64(from))
	for id := range fillCallers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(w.spec.Seed, uint64(id)))
			session := w.native.sessions[id%len(w.native.sessions)]
			for {
				n := int(drawn.Add(batchKeys)) - batchKeys
				if n >= to {
					return nil
				}
				put, cancel := context.WithTimeout(ctx, timeout)
				err := succeeded(session.Txn(put, w.putAll(n, min(n+batchKeys, to), rng)))
				cancel()
				if err != nil {
					return fmt.Errorf("filling in key %d of %d: %w", n+1, to, err)
				}
			}
		})
	}
	return group.Wait()
}
