package importing

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/statemachine"
)

func rangeAt(ctx context.Context, m *statemachine.Machine, rev int64) ([]*mvccpb.KeyValue, error) {
	resp, err := m.Range(ctx, &pb.RangeRequest{Key: []byte(key(0)), RangeEnd: []byte(key(300)), Revision: rev})
	return resp.GetKvs(), err
}
