// Command etcd is an unmodified etcd server, built from its published Go
// module: the reference that raft-kv is measured and tested against. It is a
// Go module of its own, so that etcd runs with the dependencies its authors
// released it with and raft-kv's own dependencies stay free of etcd's server.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
