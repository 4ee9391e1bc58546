package server

import (
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/rpc/rpcerr"
	"raftkv/server/compactor"
)

// errNotReady is answered to clients before the member takes part in raft.
var errNotReady = errors.New("this member is still starting")

// errorTable is the one table of errors, with those of this package.
func errorTable() (*rpcerr.Table, error) {
	return rpcerr.New(
		rpcerr.Pair{Err: errNotReady, Status: rpctypes.ErrGRPCNoLeader},
		rpcerr.Pair{Err: compactor.ErrStopped, Status: rpctypes.ErrGRPCStopped},
	)
}
