package rpcerr_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/rpc/rpcerr"
	"raftkv/statemachine"
)

func TestTable(t *testing.T) {
	own := errors.New("store: compacted")
	table, err := rpcerr.New(rpcerr.Pair{Err: own, Status: rpctypes.ErrGRPCCompacted})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		err  error
		code codes.Code
		text string
	}{
		{"a pair", own, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{"a wrapped pair", fmt.Errorf("reading: %w", fmt.Errorf("at 3: %w", own)), codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{"a status", rpctypes.ErrGRPCEmptyKey, codes.InvalidArgument, "etcdserver: key is not provided"},
		{"a pair around a status", fmt.Errorf("%w: %w", own, rpctypes.ErrGRPCEmptyKey), codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{"unknown outcome", node.ErrUnknownOutcome, codes.Unavailable, "etcdserver: request timed out"},
		{"unknown outcome by deadline", fmt.Errorf("%w (%w)", node.ErrUnknownOutcome, context.DeadlineExceeded), codes.Unavailable, "etcdserver: request timed out"},
		{"not applied by deadline", fmt.Errorf("%w (%w)", node.ErrNotApplied, context.DeadlineExceeded), codes.Unavailable, "etcdserver: no leader"},
		{"read timeout", node.ErrReadTimeout, codes.Unavailable, "etcdserver: request timed out"},
		{"no leader", node.ErrNoLeader, codes.Unavailable, "etcdserver: no leader"},
		{"queue full", node.ErrBusy, codes.ResourceExhausted, "etcdserver: too many requests"},
		{"too large", node.ErrTooLarge, codes.InvalidArgument, "etcdserver: request is too large"},
		{"stopped", node.ErrStopped, codes.Unavailable, "etcdserver: server stopped"},
		{"future", fmt.Errorf("range: %w", statemachine.ErrFutureRevision), codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{"lease", statemachine.ErrLeaseNotFound, codes.NotFound, "etcdserver: requested lease not found"},
		{"value", statemachine.ErrValueTooLarge, codes.InvalidArgument, "etcdserver: request is too large"},
		{"no space", statemachine.ErrNoSpace, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{"corrupt", fmt.Errorf("%w: put", statemachine.ErrCorruptAlarm), codes.DataLoss, "etcdserver: corrupt cluster"},
		{"other incarnation", fmt.Errorf("%w: member 1", statemachine.ErrOtherIncarnation), codes.FailedPrecondition, "raftkv: member is known with another data directory"},
		{"not yet", statemachine.ErrNotYet, codes.FailedPrecondition, "raftkv: cluster version does not allow this command yet"},
		{"no session", fmt.Errorf("%w: 1", statemachine.ErrSessionUnknown), codes.NotFound, "raftkv: session not found"},
		{"used session", statemachine.ErrSessionUsed, codes.FailedPrecondition, "raftkv: session was used meanwhile"},
		{"past sequence", statemachine.ErrSequencePast, codes.FailedPrecondition, "raftkv: sequence number is past, its result is no longer known"},
		{"sequence gap", statemachine.ErrSequenceGap, codes.OutOfRange, "raftkv: sequence number leaves a gap"},
		{"lost result", statemachine.ErrResultNotKept, codes.FailedPrecondition, "raftkv: command was applied before, its result was not kept"},
		{"canceled", fmt.Errorf("waiting: %w", context.Canceled), codes.Canceled, ""},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
		{"anything else", errors.New("disk on fire"), codes.Unknown, "disk on fire"},
	} {
		got := status.Convert(table.GRPC(tc.err))
		if got.Code() != tc.code || tc.text != "" && got.Message() != tc.text {
			t.Errorf("%s: %v %q, want %v %q", tc.name, got.Code(), got.Message(), tc.code, tc.text)
		}
	}
	if table.GRPC(nil) != nil {
		t.Error("nil became an error")
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := rpcerr.New(
		rpcerr.Pair{Status: rpctypes.ErrGRPCEmptyKey},
		rpcerr.Pair{Err: errors.New("a"), Status: errors.New("no status")},
		rpcerr.Pair{Err: errors.New("b")},
	)
	if err == nil {
		t.Fatal("faulty pairs were accepted")
	}
	for _, want := range []string{"pair 0", "pair 1", "pair 2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not mention %s", err, want)
		}
	}
}
