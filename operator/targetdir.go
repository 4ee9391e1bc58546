package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"raftkv/server/identity"
)

// stagingSuffix ends the name that a data directory has until there is something in
// it.
const stagingSuffix = ".partial"

// makePartial makes the unfinished directory, with nothing in it, and the data
// directory around it if there is none: both at once, by a rename. A data directory
// without it would pass for that of a new member, which starts with nothing, so there
// is none at any moment, whatever is left of an earlier run.
func (t *Target) makePartial() error {
	partial := filepath.Join(t.DataDir, identity.PartialName)
	_, err := os.Stat(t.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return t.makeRoot()
	}
	if err == nil {
		err = os.Mkdir(partial, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return errors.Join(removeAllIn(partial), t.reached("emptied"))
	case err != nil:
		return err
	}
	return identity.SyncDir(t.DataDir)
}

// makeRoot makes a data directory that holds an unfinished one.
func (t *Target) makeRoot() error {
	root := filepath.Clean(t.DataDir)
	parent, staging := filepath.Dir(root), root+stagingSuffix
	if err := makeDirs(parent); err != nil {
		return err
	}
	// What an earlier run left is empty. Anything else is not ours.
	for _, left := range []string{filepath.Join(staging, identity.PartialName), staging} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make room for a directory of that name: %w", err)
		}
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	if err := t.reached("staged"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(staging, identity.PartialName), 0o700); err != nil {
		return err
	}
	if err := identity.SyncDir(staging); err != nil {
		return err
	}
	if err := os.Rename(staging, root); err != nil {
		return err
	}
	return identity.SyncDir(parent)
}

// removeAllIn empties a directory.
func removeAllIn(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
