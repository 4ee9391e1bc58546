package kvload

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"raftkv/bench/internal/load"
)

// stm returns an operation of etcd's own library for optimistic transactions, on
// the client's connection: the library decides which requests make a transaction
// and when it is tried again, and no client of its own adds retries to that.
func (c *client) stm() load.Op {
	var clients []*clientv3.Client
	for _, conn := range c.conns {
		// Without a connection of its own there is nothing to close.
		one := clientv3.NewCtxClient(context.Background())
		one.KV = clientv3.NewKVFromKVClient(etcdserverpb.NewKVClient(conn), one)
		clients = append(clients, one)
	}
	return func(ctx context.Context) (int, error) {
		one := clients[c.turn]
		c.turn = (c.turn + 1) % len(clients)
		return 0, c.readAndWrite(ctx, one)
	}
}

func (c *client) readAndWrite(ctx context.Context, through *clientv3.Client) error {
	key, size := string(presentKey(c.key())), c.workload.spec.ValueSizeBytes
	value := string(c.workload.pool.value(c.rng))
	resp, err := concurrency.NewSTM(through, func(s concurrency.STM) error {
		if old := s.Get(key); len(old) != size {
			return fmt.Errorf("%w: %s has %d bytes, want %d", errWrongAnswer, key, len(old), size)
		}
		s.Put(key, value)
		return nil
	}, concurrency.WithIsolation(concurrency.Serializable), concurrency.WithAbortContext(ctx))
	if err == nil && !resp.Succeeded {
		err = fmt.Errorf("%w: the transaction on %s did not succeed", errWrongAnswer, key)
	}
	return err
}
