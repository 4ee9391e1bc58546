package server

// Versions that members and clients are told.
const (
	// Version is raft-kv's own.
	Version = "0.1.0"
	// EtcdVersion is the release of etcd whose API is served.
	EtcdVersion = "3.7.3"
)
