package server

// Versions that members and clients are told.
const (
	// Version is raft-kv's own.
	Version = "0.1.0"
	// EtcdVersion is the release of etcd whose API is served.
	EtcdVersion = "3.7.3"
	// clusterVersion gates what may be written to the log: major<<16 |
	// minor<<8 | patch.
	clusterVersion = 0<<16 | 1<<8
)
