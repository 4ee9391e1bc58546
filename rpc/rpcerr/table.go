package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pair says that Err, however wrapped, is answered as Status, a gRPC status
// error such as those of etcd's rpctypes.
type Pair struct {
	Err    error
	Status error
}

// Table maps errors to gRPC statuses.
type Table struct {
	pairs []Pair
}

// New builds the table of the rooms' errors, behind pairs, which are for errors
// that only the caller knows. It reports every faulty pair at once.
func New(pairs ...Pair) (*Table, error) {
	var faults []error
	for i, p := range pairs {
		if p.Err == nil {
			faults = append(faults, fmt.Errorf("rpcerr: pair %d has no error", i))
		}
		if s, ok := status.FromError(p.Status); !ok || s.Code() == codes.OK {
			faults = append(faults, fmt.Errorf("rpcerr: pair %d (%v) has no gRPC status: %v", i, p.Err, p.Status))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &Table{pairs: slices.Concat(pairs, nodePairs(), statePairs())}, nil
}

// GRPC returns err as a gRPC status error, nil for nil.
func (t *Table) GRPC(err error) error {
	if err == nil {
		return nil
	}
	// Only the error itself, not something deep inside it: a sentinel that
	// wraps a peer's status must be answered as the sentinel.
	if own, ok := err.(interface{ GRPCStatus() *status.Status }); ok && own.GRPCStatus() != nil {
		return err
	}
	for _, p := range t.pairs {
		if errors.Is(err, p.Err) {
			return p.Status
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

// Known reports whether a pair of the table matches err.
func (t *Table) Known(err error) bool {
	for _, p := range t.pairs {
		if errors.Is(err, p.Err) {
			return true
		}
	}
	return false
}
