package operator

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"raftkv/server/identity"
	"raftkv/statemachine"
)

// Peer is a member of a cluster that is to be.
type Peer struct {
	Name     string
	PeerURLs []string
}

// Target says which member of which new cluster a data directory is made for.
type Target struct {
	DataDir string
	// WALDir is where the log goes, an empty directory; empty: into DataDir.
	WALDir string
	// Name is one of Cluster's.
	Name    string
	Cluster []Peer
	// Token tells clusters apart that are made from one file with equal URLs.
	Token  string
	Logger *zap.Logger

	// reached is told of every step, for tests that stop there.
	reached func(step string) error
}

// ErrNotEmpty means that a data directory holds something already.
var ErrNotEmpty = errors.New("data directory is not empty")

// EnsureDefaults fills in what was left out.
func (t *Target) EnsureDefaults() {
	if t.Logger == nil {
		t.Logger = zap.NewNop()
	}
	if t.reached == nil {
		t.reached = func(string) error { return nil }
	}
}

// Validate reports all faults at once.
func (t *Target) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if t.DataDir == "" {
		fault("no data directory given")
	}
	if err := t.checkSeparate(); err != nil {
		faults = append(faults, err)
	}
	names, urls := map[string]bool{}, map[string]string{}
	for _, p := range t.Cluster {
		if p.Name == "" || names[p.Name] {
			fault("the cluster list names %q twice, or not at all", p.Name)
		}
		names[p.Name] = true
		if len(p.PeerURLs) == 0 {
			fault("the cluster list gives no peer URL for %q", p.Name)
		}
		for _, u := range p.PeerURLs {
			if other, taken := urls[u]; taken {
				fault("the cluster list gives %s to both %q and %q", u, other, p.Name)
			}
			if !strings.Contains(u, "://") {
				fault("the cluster list: %q is not a URL", u)
			}
			urls[u] = p.Name
		}
	}
	if !names[t.Name] {
		fault("the cluster list does not contain this member, %q", t.Name)
	}
	return errors.Join(faults...)
}

// founding are the ids of a new cluster.
type founding struct {
	clusterID, memberID uint64
	members             []statemachine.Member
}

// found computes ids from the cluster list and from what the state is made of,
// so that every member computes the same, and no other cluster has them.
func (t *Target) found(origin []byte) founding {
	salt := sha256.Sum256(append([]byte(t.Token+"\x00"), origin...))
	token := fmt.Sprintf("%x", salt)
	var f founding
	var ids []uint64
	for _, p := range t.Cluster {
		id := identity.MemberID(p.PeerURLs, token)
		if p.Name == t.Name {
			f.memberID = id
		}
		ids = append(ids, id)
		f.members = append(f.members, statemachine.Member{ID: id, Name: p.Name, PeerURLs: slices.Clone(p.PeerURLs)})
	}
	f.clusterID = cmp.Or(identity.ClusterID(ids)^binary.BigEndian.Uint64(salt[:]), 1)
	return f
}

// checkEmpty refuses a data directory that holds anything but what an
// interrupted run left.
func (t *Target) checkEmpty() error {
	entries, err := os.ReadDir(t.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != identity.PartialName && e.Name() != "lost+found" {
			return fmt.Errorf("%w: %s holds %q; choose another --data-dir or empty this one", ErrNotEmpty, t.DataDir, e.Name())
		}
	}
	return nil
}

// build makes the data directory: fill brings the state, which refound then
// makes that of the new cluster. After an error nothing is left behind.
func (t *Target) build(f founding, refounding statemachine.Refounding, fill func(m *statemachine.Machine, scratch string) error) (err error) {
	if err := t.checkEmpty(); err != nil {
		return err
	}
	if err := t.partial(f, refounding, fill); err != nil {
		return errors.Join(err, t.discard())
	}
	if err := os.Rename(filepath.Join(t.DataDir, identity.PartialName), filepath.Join(t.DataDir, "member")); err != nil {
		return errors.Join(fmt.Errorf("put the data directory into place: %w", err), t.discard())
	}
	if err := t.reached("renamed"); err != nil {
		return err
	}
	return errors.Join(identity.SyncDir(t.DataDir), releaseClaim(filepath.Join(t.DataDir, "member")))
}

// discard removes what an interrupted or failed run left.
func (t *Target) discard() error {
	if err := t.discardLog(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(t.DataDir, identity.PartialName)); err != nil {
		return fmt.Errorf("remove an unfinished data directory: %w", err)
	}
	return nil
}

// partial makes everything but the last rename durable.
func (t *Target) partial(f founding, refounding statemachine.Refounding, fill func(m *statemachine.Machine, scratch string) error) error {
	if err := t.discardLog(); err != nil {
		return err
	}
	if err := t.checkWALDirEmpty(); err != nil {
		return err
	}
	partial := filepath.Join(t.DataDir, identity.PartialName)
	if err := t.makePartial(); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := t.reached("created"); err != nil {
		return err
	}
	refounding.ClusterID, refounding.Members = f.clusterID, f.members
	anchor, err := t.makeState(partial, refounding, fill)
	if err != nil {
		return err
	}
	if err := t.reached("state made"); err != nil {
		return err
	}
	walDir, err := t.makeLog(partial, f, anchor.Meta())
	if err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	if err := t.reached("log made"); err != nil {
		return err
	}
	if err := identity.Prepare(partial, identity.Identity{ClusterID: f.clusterID, MemberID: f.memberID, Name: t.Name, WALDir: walDir}); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	if err := identity.SyncDir(partial); err != nil {
		return err
	}
	return t.reached("identity made")
}

// makeState returns the state that was made. A database that cannot go on (a
// disk that fails) parks whoever uses it for ever; then this returns and leaves
// that goroutine behind, and the process has to end.
func (t *Target) makeState(partial string, r statemachine.Refounding, fill func(*statemachine.Machine, string) error) (statemachine.Summary, error) {
	type result struct {
		s   statemachine.Summary
		err error
	}
	done, broken := make(chan result, 1), make(chan error, 1)
	go func() {
		s, err := t.fillState(partial, r, fill, func(err error) {
			select {
			case broken <- err:
			default:
			}
		})
		done <- result{s, err}
	}()
	select {
	case err := <-broken:
		return statemachine.Summary{}, err
	case made := <-done:
		select {
		case err := <-broken:
			made.err = errors.Join(made.err, err)
		default:
		}
		return made.s, made.err
	}
}

func (t *Target) fillState(partial string, r statemachine.Refounding, fill func(*statemachine.Machine, string) error, onFatal func(error)) (s statemachine.Summary, err error) {
	m, err := statemachine.Open(statemachine.Options{Dir: filepath.Join(partial, "state"), FS: vfs.Default, Logger: t.Logger, OnFatal: onFatal})
	if err != nil {
		return s, err
	}
	scratch := filepath.Join(partial, "scratch")
	if err = fill(m, scratch); err == nil {
		err = m.Refound(r)
	}
	s = m.Summarize()
	return s, errors.Join(err, m.Close(), os.RemoveAll(scratch))
}

// makeDirs is os.MkdirAll, durable.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return identity.SyncDir(parent)
}
