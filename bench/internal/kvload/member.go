package kvload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Applied is the index of the last log entry that a member has applied.
func Applied(ctx context.Context, endpoint string) (uint64, error) {
	status, err := memberStatus(ctx, endpoint)
	if err != nil {
		return 0, err
	}
	return status.GetRaftAppliedIndex(), nil
}

// Writes returns nil if the member acknowledges a put. The connection is a new
// one, so that no pause between attempts to connect is part of the answer.
func Writes(ctx context.Context, endpoint string) (err error) {
	conn, err := newConn(endpoint)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err = etcdserverpb.NewKVClient(conn).Put(ctx, &etcdserverpb.PutRequest{Key: []byte("probe/write"), Value: []byte(endpoint)}); err != nil {
		return fmt.Errorf("writing to %s: %w", endpoint, err)
	}
	return nil
}

// serveTimeout limits one question to members that may not serve yet.
const serveTimeout = 2 * time.Second

// AllServe is the readiness of a cluster: every member answers linearizable
// reads and one knows itself as the leader.
func AllServe(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	for _, endpoint := range endpoints {
		if err := Serves(ctx, endpoint); err != nil {
			return err
		}
	}
	_, err := Leader(ctx, endpoints)
	return err
}

// SaveSnapshot has a member send a snapshot of the whole store, drops it, and
// returns its size. Where a client writes it is not the server's concern.
func SaveSnapshot(ctx context.Context, endpoint string) (bytes int64, err error) {
	conn, err := newConn(endpoint)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stream, err := etcdserverpb.NewMaintenanceClient(conn).Snapshot(ctx, &etcdserverpb.SnapshotRequest{})
	if err != nil {
		return 0, fmt.Errorf("saving a snapshot of %s: %w", endpoint, err)
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bytes, fmt.Errorf("saving a snapshot of %s: %w", endpoint, err)
		}
		bytes += int64(len(part.GetBlob()))
	}
	if bytes == 0 {
		return 0, fmt.Errorf("%w: the snapshot of %s is empty", errWrongAnswer, endpoint)
	}
	return bytes, nil
}
