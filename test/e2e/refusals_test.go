package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// TestRefusals sends what must be refused through etcd's client library. Codes
// and texts are etcd's, and nothing of a refused request is applied.
func TestRefusals(t *testing.T) {
	c := harness.StartCluster(t, bin, 1)
	client := c.Nodes[0].Client()
	var first *clientv3.PutResponse
	for range 3 {
		var err error
		if first, err = client.Put(t.Context(), "name", "Alice"); err != nil {
			t.Fatal(err)
		}
	}
	compacted := first.Header.GetRevision() - 1
	if _, err := client.Compact(t.Context(), compacted); err != nil {
		t.Fatal(err)
	}
	puts := func(n int, key func(int) string) (ops []clientv3.Op) {
		for i := range n {
			ops = append(ops, clientv3.OpPut(key(i), "x"))
		}
		return ops
	}
	numbered := func(i int) string { return fmt.Sprintf("refused/%d", i) }
	const opsMax = 128
	for _, tc := range []struct {
		name string
		want error
		do   func(ctx context.Context) error
	}{
		{"put of an empty key", rpctypes.ErrEmptyKey, func(ctx context.Context) error { _, err := client.Put(ctx, "", "x"); return err }},
		{"get of an empty key", rpctypes.ErrEmptyKey, func(ctx context.Context) error { _, err := client.Get(ctx, ""); return err }},
		{"delete of an empty key", rpctypes.ErrEmptyKey, func(ctx context.Context) error { _, err := client.Delete(ctx, ""); return err }},
		{"empty key in a transaction", rpctypes.ErrEmptyKey, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(clientv3.OpPut("refused/a", "x"), clientv3.OpPut("", "x")).Commit()
			return err
		}},
		{"value with ignore_value", rpctypes.ErrValueProvided, func(ctx context.Context) error {
			_, err := client.Put(ctx, "name", "x", clientv3.WithIgnoreValue())
			return err
		}},
		{"ignore_value of a missing key", rpctypes.ErrKeyNotFound, func(ctx context.Context) error {
			_, err := client.Put(ctx, "refused/missing", "", clientv3.WithIgnoreValue())
			return err
		}},
		{"request above 1.5 MiB", rpctypes.ErrRequestTooLarge, func(ctx context.Context) error {
			_, err := client.Put(ctx, "refused/large", strings.Repeat("x", 3<<19+1))
			return err
		}},
		{"transaction above 1.5 MiB", rpctypes.ErrRequestTooLarge, func(ctx context.Context) error {
			half := strings.Repeat("x", 1<<20*9/10)
			_, err := client.Txn(ctx).Then(clientv3.OpPut("refused/a", half), clientv3.OpPut("refused/b", half)).Commit()
			return err
		}},
		{"too many operations", rpctypes.ErrTooManyOps, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(puts(opsMax+1, numbered)...).Commit()
			return err
		}},
		{"too many operations otherwise", rpctypes.ErrTooManyOps, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Else(puts(opsMax+1, numbered)...).Commit()
			return err
		}},
		{"duplicate key", rpctypes.ErrDuplicateKey, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(puts(2, func(int) string { return "refused/same" })...).Commit()
			return err
		}},
		{"put into a deleted range", rpctypes.ErrDuplicateKey, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(clientv3.OpDelete("refused/", clientv3.WithPrefix()), clientv3.OpPut("refused/a", "x")).Commit()
			return err
		}},
		{"compacted revision", rpctypes.ErrCompacted, func(ctx context.Context) error {
			_, err := client.Get(ctx, "name", clientv3.WithRev(compacted-1))
			return err
		}},
		{"compacting twice", rpctypes.ErrCompacted, func(ctx context.Context) error {
			_, err := client.Compact(ctx, compacted)
			return err
		}},
		{"compacting the future", rpctypes.ErrFutureRev, func(ctx context.Context) error {
			_, err := client.Compact(ctx, compacted+1000)
			return err
		}},
		{"future revision", rpctypes.ErrFutureRev, func(ctx context.Context) error {
			_, err := client.Get(ctx, "name", clientv3.WithRev(first.Header.GetRevision()+1000))
			return err
		}},
		{"future revision in a transaction", rpctypes.ErrFutureRev, func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(clientv3.OpGet("name", clientv3.WithRev(first.Header.GetRevision()+1000))).Commit()
			return err
		}},
		{"lease that does not exist", rpctypes.ErrLeaseNotFound, func(ctx context.Context) error {
			_, err := client.Put(ctx, "refused/leased", "x", clientv3.WithLease(4711))
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { wantEtcdError(t, tc.do(t.Context()), tc.want) })
	}
	if _, err := client.Txn(t.Context()).Then(puts(opsMax, func(i int) string { return fmt.Sprintf("allowed/%d", i) })...).Commit(); err != nil {
		t.Errorf("%d operations are allowed: %v", opsMax, err)
	}
	if _, err := client.Get(t.Context(), "name", clientv3.WithRev(compacted)); err != nil {
		t.Errorf("the revision that was compacted to is still there: %v", err)
	}
	s := requireEqualStates(t, c.Nodes...)
	for key := range s.records {
		if strings.HasPrefix(key, "refused/") {
			t.Errorf("%q was refused and is there", key)
		}
	}
	if want := first.Header.GetRevision() + 1; s.revision != want {
		t.Errorf("the store is at revision %d, want %d", s.revision, want)
	}
}

func wantEtcdError(t *testing.T, got, want error) {
	t.Helper()
	var g, w rpctypes.EtcdError
	if !errors.As(want, &w) {
		t.Fatalf("%v is none of etcd's errors", want)
	}
	if !errors.As(got, &g) || g.Code() != w.Code() || g.Error() != w.Error() {
		t.Errorf("got %v, want %v: %v", got, w.Code(), w)
	}
}
