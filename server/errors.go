package server

import (
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/rpcerr"
	"raftkv/server/compactor"
)

// errNotReady is answered to clients before the member takes part in raft.
var errNotReady = errors.New("this member is still starting")

// errStopping ends what takes long when the member stops.
var errStopping = errors.New("this member is stopping")

// errorTable is the one table of errors, with those of this package.
func errorTable() (*rpcerr.Table, error) {
	return rpcerr.New(
		snapshotErrors(),
		rpcerr.Pair{Err: errNotReady, Status: rpctypes.ErrGRPCNoLeader},
		rpcerr.Pair{Err: compactor.ErrStopped, Status: rpctypes.ErrGRPCStopped},
		rpcerr.Pair{Err: errStopping, Status: rpctypes.ErrGRPCStopped},
		rpcerr.Pair{Err: errRewriting, Status: status.Error(codes.FailedPrecondition, "raftkv: "+errRewriting.Error())},
	)
}
