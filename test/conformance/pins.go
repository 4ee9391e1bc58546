//go:build pins

// This file keeps the programs that the runner builds in go.mod, at the
// version of etcd that raft-kv is compatible with. It is never compiled.
package conformance

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/server/v3"
	_ "go.etcd.io/etcd/tests/v3/common"
)
