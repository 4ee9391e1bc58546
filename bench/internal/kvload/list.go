package kvload

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// lister reads all keys page after page, and then again, by the requests that
// etcd's client library sends for WithLimit, WithRange and WithRev: the later
// pages at the revision of the first.
type lister struct {
	client   *client
	next0    []byte // where the next page begins; nil: at the first key
	revision int64
	seen     int // keys before next0
}

func (l *lister) next(ctx context.Context) (kind int, err error) {
	c := l.client
	if l.next0 == nil {
		l.next0, l.revision, l.seen = presentKey(0), 0, 0
	}
	kv := c.members[c.turn]
	resp, err := kv.Range(ctx, &etcdserverpb.RangeRequest{
		Key: l.next0, RangeEnd: keysEnd(), Limit: int64(c.workload.spec.PageKeys), Revision: l.revision,
	})
	if err == nil {
		err = l.check(resp)
	}
	if err != nil {
		l.next0 = nil // a listing with a hole is none
		return 0, err
	}
	kvs := resp.GetKvs()
	l.seen += len(kvs)
	l.revision = resp.GetHeader().GetRevision()
	l.next0 = append(bytes.Clone(kvs[len(kvs)-1].GetKey()), 0)
	if !resp.GetMore() {
		l.next0 = nil
		c.turn = (c.turn + 1) % len(c.members)
	}
	return 0, nil
}

// check holds a page against the keys that exist (invariant 1).
func (l *lister) check(resp *etcdserverpb.RangeResponse) error {
	spec := l.client.workload.spec
	left := spec.Keys - l.seen
	want := min(left, spec.PageKeys)
	if len(resp.GetKvs()) != want || resp.GetCount() != int64(left) || resp.GetMore() != (left > want) {
		return fmt.Errorf("%w: a page behind %d of %d keys has %d keys, count %d, more %t", errWrongAnswer,
			l.seen, spec.Keys, len(resp.GetKvs()), resp.GetCount(), resp.GetMore())
	}
	for i, kv := range resp.GetKvs() {
		if !bytes.Equal(kv.GetKey(), presentKey(l.seen+i)) || len(kv.GetValue()) != spec.ValueSizeBytes {
			return fmt.Errorf("%w: key %d of the listing is %q with %d bytes", errWrongAnswer, l.seen+i, kv.GetKey(), len(kv.GetValue()))
		}
	}
	return nil
}

// keysEnd is the end of the range of all present keys.
func keysEnd() []byte { return []byte("bench0") }

// Compact makes everything below the newest revision unreadable, and waits until
// the member that answers has removed it.
func (w *Workload) Compact(ctx context.Context) error {
	kv := etcdserverpb.NewKVClient(w.conns.list[0])
	resp, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: absentKey(0)})
	if err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	if _, err := kv.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: resp.GetHeader().GetRevision(), Physical: true}); err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	return nil
}
