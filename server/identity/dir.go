package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Format is the version of the data directory's layout.
const Format = 1

// Identity is what a data directory says about itself.
type Identity struct {
	Format      int    `json:"format"`
	ClusterID   uint64 `json:"cluster_id"`
	MemberID    uint64 `json:"member_id"`
	Name        string `json:"name"`
	Incarnation uint64 `json:"incarnation"`
	// Boot counts the starts of this directory, from 1.
	Boot uint64 `json:"boot"`
	// Complete is set once log and state have been created and a majority has
	// confirmed that the member is new. Until then a start begins anew.
	Complete bool `json:"complete"`
	// WALDir is where the log is, an absolute path; empty: in the data directory.
	WALDir string `json:"wal_dir,omitempty"`
	// Joined is set for a member that was added to a cluster that lived: its
	// state may be empty until the first snapshot. Introduction are the members
	// it was told of then.
	Joined       bool         `json:"joined,omitempty"`
	Introduction []Introduced `json:"introduction,omitempty"`
	// Prepared is set for a directory that was made offline, restored, imported
	// or recovered: log and state are there before the first start, and the ids
	// are its own, whatever the flags would make them. A majority has to confirm
	// it all the same.
	Prepared bool `json:"prepared,omitempty"`
	// PromisedNS is for how long this member may have promised leaders not to help
	// others to win: a start keeps for as long what the life before may have
	// promised. A program that does not know it is refused by the log
	// or the state, which are at a cluster version of 0.2.0 before it is set.
	PromisedNS time.Duration `json:"promised_ns,omitempty"`
}

// Introduced is a member that a new one was told of.
type Introduced struct {
	ID       uint64   `json:"id"`
	Name     string   `json:"name,omitempty"`
	PeerURLs []string `json:"peer_urls"`
	Learner  bool     `json:"learner,omitempty"`
}

// Peek reads what a data directory says of itself, without opening it.
func Peek(root string) (id Identity, found bool, err error) {
	d := &Dir{root: root}
	if found, err = readFile(d.file(), &id); err != nil || !found {
		return Identity{}, false, explainPath(err)
	}
	if id.Format != Format {
		return id, true, d.unknownFormat(id.Format)
	}
	return id, true, nil
}

// explainPath adds what to do about a path that cannot be read; a damaged file
// says it already.
func explainPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("read the data directory: %w; check its path and permissions", err)
	}
	return err
}

func (d *Dir) unknownFormat(format int) error {
	return fmt.Errorf("data directory %s has format %d, this binary knows %d only; use the binary that wrote it", d.root, format, Format)
}

// Dir is an opened and locked data directory.
type Dir struct {
	Identity
	root string
	lock *os.File
}

// Paths of the rooms inside a data directory.
func (d *Dir) WAL() string {
	if d.WALDir != "" {
		return d.WALDir
	}
	return filepath.Join(d.root, "member", "wal")
}
func (d *Dir) State() string { return filepath.Join(d.root, "member", "state") }
func (d *Dir) Snap() string  { return filepath.Join(d.root, "member", "snap") }

func (d *Dir) file() string   { return filepath.Join(d.root, "member", "identity.json") }
func (d *Dir) ledger() string { return filepath.Join(d.root, "member", "peers.json") }

// ErrForeign and its companions tell why a directory was refused.
var (
	ErrForeign = errors.New("not a data directory of raft-kv")
	ErrInUse   = errors.New("data directory is in use by another process")
	ErrOther   = errors.New("data directory belongs to another member or cluster")
)

// Open locks the data directory at root, creating it if needed, and counts a
// start. want holds the ids this process was configured with; a directory of
// another cluster or member is refused.
func Open(root string, want Identity) (*Dir, error) {
	member := filepath.Join(root, "member")
	if err := errors.Join(refusePartial(root), refuseForeign(root)); err != nil {
		return nil, err
	}
	if err := makeDirs(member); err != nil {
		return nil, fmt.Errorf("create the data directory: %w; check its path and permissions", err)
	}
	d := &Dir{root: root}
	if err := d.acquire(member); err != nil {
		return nil, err
	}
	if err := d.load(want); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// makeDirs creates a directory and its missing parents. Each directory that got
// an entry is fsynced: what is not durable may be gone after a power loss, with
// everything in it.
func makeDirs(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// refuseForeign keeps us from writing into somebody else's directory.
func refuseForeign(root string) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the data directory: %w; check its path and permissions", err)
	}
	for _, e := range entries {
		if e.Name() != "member" && e.Name() != "lost+found" && e.Name() != PartialName && !strings.HasPrefix(e.Name(), KeptPrefix) {
			return fmt.Errorf("%w: %s holds %q; choose another --data-dir or empty this one", ErrForeign, root, e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(root, "member", "snap", "db")); err == nil {
		return fmt.Errorf("%w: %s holds a database of etcd, which has another format; choose another --data-dir", ErrForeign, root)
	}
	return nil
}

func (d *Dir) acquire(member string) error {
	path := filepath.Join(member, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the data directory: %w; check its permissions", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errors.Join(fmt.Errorf("%w: %s; stop that process or choose another --data-dir", ErrInUse, d.root), f.Close())
	case err != nil:
		return errors.Join(fmt.Errorf("lock the data directory %s: %w", d.root, err), f.Close())
	}
	d.lock = f
	return nil
}

func (d *Dir) load(want Identity) error {
	found, err := readFile(d.file(), &d.Identity)
	if err != nil {
		return err
	}
	if !found {
		if err := d.refuseRemains(); err != nil {
			return err
		}
		d.Identity = want
		d.Format, d.Boot, d.Complete = Format, 0, false
		d.Incarnation = rand.Uint64() | 1
	}
	if d.Format != Format {
		return d.unknownFormat(d.Format)
	}
	if d.ClusterID != want.ClusterID || d.MemberID != want.MemberID {
		return fmt.Errorf("%w: %s is of member %x (%q) in cluster %x, the flags say member %x in cluster %x; check the cluster list, the id and the data directory",
			ErrOther, d.root, d.MemberID, d.Name, d.ClusterID, want.MemberID, want.ClusterID)
	}
	if err := d.settleLog(found, want.WALDir); err != nil {
		return err
	}
	if d.Complete || d.Prepared {
		if err := d.refuseHalfEmpty(); err != nil {
			return err
		}
	}
	d.Boot++
	if err := writeFile(d.file(), d.Identity); err != nil {
		return fmt.Errorf("record the start in the data directory: %w", err)
	}
	return nil
}

// refuseRemains refuses a directory that has lost its identity but not its data.
func (d *Dir) refuseRemains() error {
	for _, path := range []string{d.WAL(), d.State()} {
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("data directory %s is half empty: identity.json is missing, but %s is there; remove this member from the cluster and add a new one with an empty directory", d.root, path)
		}
	}
	return nil
}

func (d *Dir) refuseHalfEmpty() error {
	for _, path := range []string{d.WAL(), d.State()} {
		if !holdsSomething(path) {
			return fmt.Errorf("data directory %s is half empty: %s is missing or empty (is a disk not mounted?); remove this member from the cluster and add a new one with an empty directory", d.root, path)
		}
	}
	return nil
}

// Discard removes the remains of an interrupted creation. Nothing in them was
// ever promised to anybody.
func (d *Dir) Discard() error {
	if d.Complete || d.Prepared {
		return fmt.Errorf("data directory %s is complete and is not discarded", d.root)
	}
	return errors.Join(d.discardLog(), os.RemoveAll(d.State()), os.RemoveAll(d.Snap()))
}

// MarkComplete records that log and state exist and that the member is
// confirmed as new.
func (d *Dir) MarkComplete() error {
	d.Complete = true
	return writeFile(d.file(), d.Identity)
}

// MarkPromised records PromisedNS.
func (d *Dir) MarkPromised(length time.Duration) error {
	d.PromisedNS = length
	return writeFile(d.file(), d.Identity)
}

// Close releases the lock.
func (d *Dir) Close() error { return d.lock.Close() }
