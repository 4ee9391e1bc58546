package kvload

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// readRange reads so many neighbouring keys, from one that is drawn.
func (c *client) readRange(ctx context.Context) (int, error) {
	spec := c.workload.spec
	from := min(c.key(), spec.Keys-spec.PageKeys)
	resp, err := c.member().Range(ctx, &etcdserverpb.RangeRequest{Key: presentKey(from), RangeEnd: presentKey(from + spec.PageKeys)})
	if err != nil {
		return 0, err
	}
	return 0, checkRange(spec, from, resp)
}

// checkRange holds a reply against the keys that exist (invariant 1).
func checkRange(spec Spec, from int, resp *etcdserverpb.RangeResponse) error {
	if len(resp.GetKvs()) != spec.PageKeys || resp.GetCount() != int64(spec.PageKeys) || resp.GetMore() {
		return fmt.Errorf("%w: a range of %d keys returned %d, count %d, more %t", errWrongAnswer,
			spec.PageKeys, len(resp.GetKvs()), resp.GetCount(), resp.GetMore())
	}
	for i, kv := range resp.GetKvs() {
		if !bytes.Equal(kv.GetKey(), presentKey(from+i)) || len(kv.GetValue()) != spec.ValueSizeBytes {
			return fmt.Errorf("%w: key %d of a range is %q with %d bytes", errWrongAnswer, i, kv.GetKey(), len(kv.GetValue()))
		}
	}
	return nil
}
