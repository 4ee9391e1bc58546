package server

import (
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/node"
	"raftkv/rpc/rpcerr"
	"raftkv/statemachine"
)

// errNotReady is answered to clients before the member takes part in raft.
var errNotReady = errors.New("this member is still starting")

// errorTable maps the errors of the rooms below to gRPC statuses.
func errorTable() (*rpcerr.Table, error) {
	return rpcerr.New(
		rpcerr.Pair{Err: errNotReady, Status: rpctypes.ErrGRPCNoLeader},
		rpcerr.Pair{Err: node.ErrUnknownOutcome, Status: rpctypes.ErrGRPCTimeout},
		rpcerr.Pair{Err: node.ErrReadTimeout, Status: rpctypes.ErrGRPCTimeout},
		rpcerr.Pair{Err: node.ErrNotApplied, Status: rpctypes.ErrGRPCNoLeader},
		rpcerr.Pair{Err: node.ErrNoLeader, Status: rpctypes.ErrGRPCNoLeader},
		rpcerr.Pair{Err: node.ErrBusy, Status: rpctypes.ErrGRPCRequestTooManyRequests},
		rpcerr.Pair{Err: node.ErrTooLarge, Status: rpctypes.ErrGRPCRequestTooLarge},
		rpcerr.Pair{Err: node.ErrStopped, Status: rpctypes.ErrGRPCStopped},
		rpcerr.Pair{Err: statemachine.ErrEmptyKey, Status: rpctypes.ErrGRPCEmptyKey},
		rpcerr.Pair{Err: statemachine.ErrValueTooLarge, Status: rpctypes.ErrGRPCRequestTooLarge},
		rpcerr.Pair{Err: statemachine.ErrCompacted, Status: rpctypes.ErrGRPCCompacted},
		rpcerr.Pair{Err: statemachine.ErrFutureRevision, Status: rpctypes.ErrGRPCFutureRev},
		rpcerr.Pair{Err: statemachine.ErrKeyNotFound, Status: rpctypes.ErrGRPCKeyNotFound},
		rpcerr.Pair{Err: statemachine.ErrLeaseNotFound, Status: rpctypes.ErrGRPCLeaseNotFound},
	)
}
