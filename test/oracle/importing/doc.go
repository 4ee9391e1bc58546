// Package importing imports what a real etcd wrote and compares, in the files and
// through the client of a cluster that serves it: see its tests.
package importing
