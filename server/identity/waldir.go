package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// settleLog decides whether the log may be where this process was told it is,
// and records it. Opening another log than the one that was written last, an old
// copy say, would forget votes and acknowledged entries, so a log that moved is
// taken only if it has left its old place.
func (d *Dir) settleLog(recorded bool, want string) error {
	if recorded && want == d.WALDir {
		if d.Complete || d.Prepared {
			return nil // refuseHalfEmpty looks further
		}
		return d.refuseMountPoint()
	}
	if recorded && (d.Complete || d.Prepared) {
		old := d.WAL()
		d.WALDir = want
		return refuseMove(old, d.WAL())
	}
	if recorded { // the first start was interrupted; nothing was promised
		if err := d.discardLog(); err != nil {
			return err
		}
	}
	d.WALDir = want
	if want == "" {
		return nil
	}
	entries, err := os.ReadDir(want)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read --wal-dir: %w; check its path and permissions", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: --wal-dir %s holds %q, but %s has no member yet; choose an empty directory", ErrForeign, want, entries[0].Name(), d.root)
	}
	return d.refuseMountPoint()
}

// refuseMove accepts that the log was moved by hand, and nothing else.
func refuseMove(old, now string) error {
	switch {
	case holdsSomething(old) && holdsSomething(now):
		return fmt.Errorf("both %s and %s hold a log, and the first one was used last; correct --wal-dir, or move the first one away if it is older", old, now)
	case holdsSomething(old):
		return fmt.Errorf("the log of this member is in %s, --wal-dir now leads to %s, which is missing or empty; correct --wal-dir, or move the log there", old, now)
	case !holdsSomething(now):
		return fmt.Errorf("the log of this member was in %s and is missing there, and --wal-dir now leads to %s, which is missing or empty, too; "+
			"bring it back (is a disk not mounted?), or remove this member from the cluster and add a new one with empty directories", old, now)
	}
	return nil
}

func holdsSomething(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// refuseMountPoint: a log is built aside and renamed, which the top of a file
// system cannot be.
func (d *Dir) refuseMountPoint() error {
	if d.WALDir == "" {
		return nil
	}
	var dir, parent syscall.Stat_t
	if syscall.Stat(d.WALDir, &dir) != nil || syscall.Stat(filepath.Dir(d.WALDir), &parent) != nil {
		return nil // it will be made
	}
	if dir.Dev != parent.Dev {
		return fmt.Errorf("--wal-dir %s is the top of a file system; name a directory below it", d.WALDir)
	}
	return nil
}

// discardLog removes the remains of a log that was never complete. Elsewhere
// than in the data directory only what a log consists of is touched.
func (d *Dir) discardLog() error {
	if d.WALDir == "" {
		return os.RemoveAll(d.WAL())
	}
	var errs []error
	for _, dir := range []string{d.WALDir, d.WALDir + ".new"} {
		for _, pattern := range []string{"*.wal", "*.tmp"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			errs = append(errs, err)
			for _, file := range files {
				errs = append(errs, os.Remove(file))
			}
		}
	}
	return errors.Join(errs...)
}
