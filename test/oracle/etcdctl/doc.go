// Package etcdctl runs a script of every verb of etcd's own command line client,
// but those of authentication, against three members of raft-kv and against
// three of a real etcd, and compares what it prints: see its test.
//
// The script is a table (script_test.go). Its steps run in order on each cluster, so
// that revisions, versions, counts and HashKV must agree to the number. What
// differs between two clusters of the same kind, too, is masked (mask_test.go), and
// so is the little that raft-kv answers differently on purpose, with the reason.
package etcdctl
