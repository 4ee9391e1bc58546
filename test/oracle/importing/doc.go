// Package importing imports what a real etcd wrote and compares: see its test.
package importing
