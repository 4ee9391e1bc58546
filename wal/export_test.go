package wal

import "os"

// WithFdatasync returns the options with something in place of the ring.
func (o Options) WithFdatasync(fdatasync func(*os.File) error) Options {
	o.SyncAside, o.fdatasync = true, fdatasync
	return o
}
