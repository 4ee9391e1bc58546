package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	fileCurrent = "CURRENT"
	fileLock    = "LOCK"
	suffixTemp  = ".tmp"
	dbPrefix    = "db-"

	// formatVersion is the version of the directory's layout (invariant 10).
	formatVersion = 1
	currentHeader = "raft-kv state, format "
)

// ErrDirectory is wrapped by errors that say the directory is not, or no
// longer, a state directory this binary can use.
var ErrDirectory = errors.New("unusable state directory")

func dbName(n uint64) string { return fmt.Sprintf("%s%06d", dbPrefix, n) }

func dbNumber(name string) (n uint64, ok bool) {
	if _, err := fmt.Sscanf(name, dbPrefix+"%d", &n); err != nil || dbName(n) != name {
		return 0, false
	}
	return n, true
}

// readCurrent returns the name of the live database, "" if there is no CURRENT.
func readCurrent(fs vfs.FS, dir string) (string, error) {
	path := fs.PathJoin(dir, fileCurrent)
	f, err := fs.Open(path)
	if oserror.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	header, rest, _ := strings.Cut(string(data), "\n")
	name, _, terminated := strings.Cut(rest, "\n")
	version, isOurs := strings.CutPrefix(header, currentHeader)
	_, isName := dbNumber(name)
	switch {
	case !isOurs:
		return "", fmt.Errorf("%w: %s is damaged, or was not written by raft-kv; remove this member from the cluster and add it again with an empty data directory, or choose another one", ErrDirectory, path)
	case version != fmt.Sprint(formatVersion):
		return "", fmt.Errorf("%w: %s has format %q, this binary knows format %d; start the newer binary that wrote it",
			ErrDirectory, path, version, formatVersion)
	case !terminated || !isName:
		return "", fmt.Errorf("%w: %s is damaged; remove this member from the cluster and add it again with an empty directory",
			ErrDirectory, path)
	}
	return name, nil
}

// writeCurrent names the live database, durably: the commit point of every
// replacement.
func writeCurrent(fs vfs.FS, dir, name string) error {
	temp := fs.PathJoin(dir, fileCurrent+suffixTemp)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("creating %s: %w", temp, err)
	}
	_, err = fmt.Fprintf(f, "%s%d\n%s\n", currentHeader, formatVersion, name)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", temp, err)
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, fileCurrent)); err != nil {
		return fmt.Errorf("switching %s to %s: %w", fileCurrent, name, err)
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("opening directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing directory %s: %w", dir, err)
	}
	return nil
}

// makeDir creates the directory and syncs the parents that gained an entry.
func makeDir(fs vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; {
		if _, err := fs.Stat(d); err == nil {
			break
		} else if !oserror.IsNotExist(err) {
			return fmt.Errorf("looking for directory %s: %w", d, err)
		}
		missing = append(missing, d)
		parent := fs.PathDir(d)
		if parent == d || parent == "." {
			break
		}
		d = parent
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating state directory: %w", err)
	}
	for _, d := range missing {
		parent := fs.PathDir(d)
		if parent == "" {
			parent = "."
		}
		if err := syncDir(fs, parent); err != nil {
			return err
		}
	}
	return nil
}

// inspect lists what the directory holds: databases, leftovers of interrupted
// steps, and things that are not ours.
func inspect(fs vfs.FS, dir string) (databases, leftovers, foreign []string, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("listing state directory: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		base := strings.TrimSuffix(name, suffixTemp)
		_, isDB := dbNumber(base)
		switch {
		case name == fileCurrent || name == fileLock:
		case base != name && (isDB || base == fileCurrent):
			leftovers = append(leftovers, name)
		case isDB:
			databases = append(databases, name)
		default:
			foreign = append(foreign, name)
		}
	}
	return databases, leftovers, foreign, nil
}
