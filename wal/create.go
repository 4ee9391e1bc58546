package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
)

// Exists says whether dir holds a log. A log that was not created completely
// does not count: it has another name until it is complete.
func Exists(dir string) bool {
	found, err := listSegments(dir)
	return err == nil && len(found) > 0
}

// Create creates the log of a member whose state machine starts at anchor:
// index, term and ConfState. It refuses a directory that has anything in it.
//
// The log is built under another name, made durable, and renamed: after a crash
// there is all of it or none of it, and Create can be called again.
func Create(opts Options, anchor *raftpb.SnapshotMetadata) error {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return err
	}
	if err := checkAbsent(opts.Dir); err != nil {
		return err
	}
	parent := filepath.Dir(opts.Dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	staging := filepath.Clean(opts.Dir) + ".new"
	if err := os.RemoveAll(staging); err != nil {
		return fmt.Errorf("wal: remove a log that was never completed: %w", err)
	}
	if err := build(opts, staging, anchor); err != nil {
		return err
	}
	// checkAbsent left nothing but an empty directory.
	if err := os.Remove(opts.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("wal: make room for the log: %w", err)
	}
	if err := os.Rename(staging, opts.Dir); err != nil {
		return fmt.Errorf("wal: put the log into place: %w", err)
	}
	return syncDir(parent)
}

func build(opts Options, staging string, anchor *raftpb.SnapshotMetadata) error {
	w, err := etcdwal.Create(opts.Logger, staging, opts.Metadata.Encode())
	if err != nil {
		return fmt.Errorf("wal: create the log: %w", err)
	}
	f := &files{dir: staging, logger: opts.Logger, observe: opts.ObserveFsync, wal: w}
	if err := errors.Join(CreateOn(f, anchor), f.Close()); err != nil {
		return err
	}
	// etcd's Create syncs the parent of the directory, but not the directory
	// that has the entry of the first segment.
	return syncDir(staging)
}

func checkAbsent(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("wal: look for an existing log: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("wal: create the log: %s: %w: it has %s in it", dir, os.ErrExist, entries[0].Name())
	}
	return nil
}

// makeDirs is os.MkdirAll, durable.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, fileutil.PrivateDirMode); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("wal: make a directory: %w", err)
	}
	return syncDir(parent)
}
