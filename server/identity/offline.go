package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Names in a data directory that its tools use beside "member".
const (
	// PartialName is what a directory that is made offline is called until all
	// of it is durable; then it is renamed to "member".
	PartialName = "member.partial"
	// KeptPrefix begins the names under which tools keep what was there before.
	KeptPrefix = "member.before-"
)

// PeekMember is Peek for the directory inside a data directory.
func PeekMember(member string) (id Identity, found bool, err error) {
	path := filepath.Join(member, "identity.json")
	if found, err = readFile(path, &id); err != nil || !found {
		return Identity{}, false, err
	}
	if id.Format != Format {
		return id, true, fmt.Errorf("%s has format %d, this binary knows %d only; use the binary that wrote it", path, id.Format, Format)
	}
	return id, true, nil
}

// CheckLedger reads the ledger of a data directory and reports whether it can
// be used.
func CheckLedger(root string) error {
	d := &Dir{root: root}
	_, err := d.OpenLedger()
	return err
}

// Prepare writes the identity of a directory that is made offline; id says whose
// it is. It is the last file to be written.
func Prepare(member string, id Identity) error {
	id.Format, id.Boot, id.Complete, id.Prepared = Format, 0, false, true
	id.Incarnation = rand.Uint64() | 1
	return writeFile(filepath.Join(member, "identity.json"), id)
}

// refusePartial refuses a data directory whose making was interrupted.
func refusePartial(root string) error {
	if _, err := os.Stat(filepath.Join(root, PartialName)); err != nil {
		return nil // whoever needs the directory itself will say what is wrong
	}
	undo := ""
	if _, err := os.Stat(filepath.Join(root, "member")); err == nil {
		undo = ", or remove " + PartialName + " to go on without it"
	}
	return fmt.Errorf("%s holds %q: making this directory (a restore, an import or a recovery) was interrupted; run that command again%s", root, PartialName, undo)
}

// Lock keeps processes out of a data directory, which must be a whole one.
func Lock(root string) (io.Closer, error) {
	if err := refusePartial(root); err != nil {
		return nil, err
	}
	return LockUnfinished(root, "member")
}

// LockUnfinished is Lock for who goes on with what was interrupted; name is that
// of the directory inside which a member ran.
func LockUnfinished(root, name string) (io.Closer, error) {
	if err := refuseForeign(root); err != nil {
		return nil, err
	}
	member := filepath.Join(root, name)
	if _, err := os.Stat(filepath.Join(member, "identity.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no %s/identity.json", ErrForeign, root, name)
	}
	d := &Dir{root: root}
	if err := d.acquire(member); err != nil {
		return nil, err
	}
	return d.lock, nil
}
