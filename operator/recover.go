package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"raftkv/server/identity"
	"raftkv/statemachine"
	"raftkv/wal"
)

// Recovery is a data directory of which a cluster of one member is to be made.
type Recovery struct {
	DataDir string
	// WALDir is where the new log goes, an empty directory; empty: into DataDir.
	WALDir string
	// KeepUncommitted also takes the entries of which this member does not know
	// that they were committed. Some may have been acknowledged to clients,
	// others may never have been meant to last. etcd drops them, as is done
	// without it.
	KeepUncommitted bool
	Logger          *zap.Logger
	// Now names what is kept.
	Now time.Time

	reached func(step string) error // for tests
}

// RecoveryPlan is what a recovery finds and would do.
type RecoveryPlan struct {
	ClusterID, MemberID uint64
	Name                string
	Members             []statemachine.Member
	// Applied is what the state holds, Committed what the member knows to be
	// committed, Last the last entry it has.
	Applied, Committed, Last uint64
	Revision                 int64
	// Alone: it is the only member already, and there is nothing to do.
	Alone bool
	// Interrupted: an earlier run has made the new directory and was interrupted
	// before it was in its place; what is left is that.
	Interrupted bool

	member  string // the directory inside the data directory that is recovered
	own     statemachine.Member
	live    string
	entries []*raftpb.Entry
}

// Uncommitted is how many entries are dropped unless they are asked for.
func (p *RecoveryPlan) Uncommitted() uint64 { return p.Last - p.Committed }

func (r *Recovery) ensureDefaults() {
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	if r.reached == nil {
		r.reached = func(string) error { return nil }
	}
}

// Plan reads the data directory and changes nothing.
func (r *Recovery) Plan(ctx context.Context) (p RecoveryPlan, err error) {
	p, lock, err := r.lockAndPlan(ctx)
	if err != nil {
		return p, err
	}
	return p, lock.Close()
}

// lockAndPlan locks the directory that is recovered: it keeps its lock when it
// is renamed, so that no second recovery comes between the renames.
func (r *Recovery) lockAndPlan(ctx context.Context) (p RecoveryPlan, lock io.Closer, err error) {
	r.ensureDefaults()
	name, interrupted, err := r.look()
	if err != nil {
		return p, nil, err
	}
	if lock, err = identity.LockUnfinished(r.DataDir, name); err != nil {
		return p, nil, err
	}
	p.Interrupted, p.member = interrupted, filepath.Join(r.DataDir, name)
	if err := r.plan(ctx, &p); err != nil {
		return p, nil, errors.Join(err, lock.Close())
	}
	return p, lock, nil
}

// look finds the directory to recover. Without one that has its name, an earlier
// run was interrupted between its renames, and what it kept was recovered.
func (r *Recovery) look() (name string, interrupted bool, err error) {
	entries, err := os.ReadDir(r.DataDir)
	if err != nil {
		return "", false, fmt.Errorf("look into the data directory: %w", err)
	}
	for _, e := range entries { // sorted by name, and so by age
		if e.Name() == "member" {
			return e.Name(), false, nil
		}
		if strings.HasPrefix(e.Name(), keptPrefix) {
			name = e.Name()
		}
	}
	if name == "" {
		return "member", false, nil // LockUnfinished says what is wrong
	}
	switch _, finished, err := identity.PeekMember(filepath.Join(r.DataDir, identity.PartialName)); {
	case err != nil:
		return "", false, err
	case !finished:
		return "", false, fmt.Errorf("%w: %s has neither a member nor a finished recovery in it; to undo the last one, rename %s to member", identity.ErrForeign, r.DataDir, name)
	}
	return name, true, nil
}

func (r *Recovery) plan(ctx context.Context, p *RecoveryPlan) error {
	id, _, err := identity.PeekMember(p.member)
	if err != nil {
		return err
	}
	if !id.Complete && !id.Prepared {
		return fmt.Errorf("%s was never taken into a cluster: it holds nothing to recover", r.DataDir)
	}
	p.ClusterID, p.MemberID, p.Name = id.ClusterID, id.MemberID, id.Name
	if p.live, err = statemachine.LiveDatabase(vfs.Default, filepath.Join(p.member, "state")); err != nil {
		return err
	}
	var s statemachine.Summary
	if err := statemachine.Examine(vfs.Default, p.live, func(e *statemachine.Examined) error { s = e.Summary; return ctx.Err() }); err != nil {
		return err
	}
	dir := cmp.Or(id.WALDir, filepath.Join(p.member, "wal"))
	log, err := wal.Examine(wal.Options{Dir: dir, Metadata: wal.Metadata{ClusterID: id.ClusterID, MemberID: id.MemberID}}, s.Meta())
	if err != nil {
		return err
	}
	p.Members, p.Applied, p.Revision = s.Members, s.Index, s.Revision
	p.Committed = max(s.Index, log.State.GetCommit())
	p.Last = p.Committed
	for _, e := range log.Entries {
		if e.GetIndex() > p.Applied {
			p.entries = append(p.entries, e)
		}
		p.Last = max(p.Last, e.GetIndex())
	}
	p.own = statemachine.Member{ID: p.MemberID, Name: p.Name}
	for _, m := range s.Members {
		if m.ID == p.MemberID {
			p.own = m
		}
	}
	if len(p.own.PeerURLs) == 0 {
		return fmt.Errorf("member %x is not in the members table of its own state: it never took part, or was removed", p.MemberID)
	}
	p.Alone = len(s.Members) == 1 && len(s.ConfState.GetVoters()) == 1
	return nil
}

// logDir is where the log of a data directory is.
func logDir(root string, id identity.Identity) string {
	return cmp.Or(id.WALDir, filepath.Join(root, "member", "wal"))
}

// Recovered describes a cluster of one member.
type Recovered struct {
	RecoveryPlan
	NewClusterID, NewMemberID uint64
	// Kept is where the old directory is.
	Kept string
	// Dropped is how many entries were not taken over; of an interrupted run
	// that is not known any more.
	Dropped uint64
}

// ErrAlone means that a member is the only one of its cluster already.
var ErrAlone = errors.New("it is the only member of its cluster already")

// Run makes a cluster of one member with everything that this one had: its
// state, and the committed entries that it had not applied yet. The old
// directory is kept beside, untouched. The cluster and its member get new ids:
// should others of the old cluster come back, they are strangers.
func (r *Recovery) Run(ctx context.Context) (out Recovered, err error) {
	var lock io.Closer
	if out.RecoveryPlan, lock, err = r.lockAndPlan(ctx); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	partial := filepath.Join(r.DataDir, identity.PartialName)
	switch {
	case out.Interrupted:
		id, _, err := identity.PeekMember(partial)
		if err != nil {
			return out, err
		}
		out.NewClusterID, out.NewMemberID, out.Kept = id.ClusterID, id.MemberID, out.member
		return out, r.place()
	case out.Alone:
		return out, fmt.Errorf("%s: %w", r.DataDir, ErrAlone)
	}
	if err := r.build(ctx, &out); err != nil {
		return out, fmt.Errorf("recover %s: %w", r.DataDir, err)
	}
	out.Kept = filepath.Join(r.DataDir, keptPrefix+r.Now.UTC().Format("20060102T150405.000"))
	if err := r.swap(out.Kept); err != nil {
		return out, fmt.Errorf("put the new directory into place: %w; run this again to go on", err)
	}
	return out, nil
}

// keptPrefix begins the names of what recoveries keep.
const keptPrefix = identity.KeptPrefix + "recovery-"

// build makes everything but the renames. After an error nothing of it is left.
func (r *Recovery) build(ctx context.Context, out *Recovered) error {
	var broken []error
	_, _, err := statemachine.CheckTables(ctx, vfs.Default, out.live, func(path string, err error) {
		broken = append(broken, fmt.Errorf("%s: %w", path, err))
	})
	if err := errors.Join(append(broken, err)...); err != nil {
		return err
	}
	t := Target{
		DataDir: r.DataDir, WALDir: r.WALDir, Name: out.Name, Token: rand.Text(), Logger: r.Logger,
		Cluster: []Peer{{Name: out.Name, PeerURLs: out.own.PeerURLs}},
	}
	t.EnsureDefaults()
	t.reached = r.reached
	if err := t.Validate(); err != nil {
		return err
	}
	f := t.found(fmt.Appendf(nil, "%x/%x/%d", out.ClusterID, out.MemberID, out.Committed))
	f.members[0].ClientURLs = out.own.ClientURLs
	out.NewClusterID, out.NewMemberID = f.clusterID, f.memberID
	until := out.Committed
	if r.KeepUncommitted {
		until = out.Last
	}
	out.Dropped = out.Last - until
	err = t.partial(f, statemachine.Refounding{KeepSessions: true}, func(m *statemachine.Machine, scratch string) error {
		if err := linkTables(out.live, scratch); err != nil {
			return err
		}
		if err := m.Replace(scratch); err != nil {
			return err
		}
		return applyUntil(m, out.entries, until)
	})
	if err != nil {
		return errors.Join(err, t.discard())
	}
	return nil
}

// swap keeps the old directory under another name and puts the new one into its
// place. Between the two renames no member starts here, and Run goes on.
func (r *Recovery) swap(kept string) error {
	if err := os.Rename(filepath.Join(r.DataDir, "member"), kept); err != nil {
		return err
	}
	if err := identity.SyncDir(r.DataDir); err != nil {
		return err
	}
	if err := r.reached("kept"); err != nil {
		return err
	}
	return r.place()
}

func (r *Recovery) place() error {
	member := filepath.Join(r.DataDir, "member")
	if err := os.Rename(filepath.Join(r.DataDir, identity.PartialName), member); err != nil {
		return err
	}
	return errors.Join(identity.SyncDir(r.DataDir), releaseClaim(member))
}

// linkTables copies a database whose tables never change: those are linked.
func linkTables(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, dest := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.Name() == "LOCK":
			continue
		case statemachine.ImmutableFile(e.Name()):
			err = os.Link(source, dest)
		default:
			err = copyFile(source, dest)
		}
		if err != nil {
			return fmt.Errorf("copy the state: %w", err)
		}
	}
	return identity.SyncDir(to)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o600))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// applyUntil applies entries up to an index, one by one: a configuration change
// ends a call of Apply.
func applyUntil(m *statemachine.Machine, entries []*raftpb.Entry, until uint64) error {
	for i, e := range entries {
		if e.GetIndex() > until {
			return nil
		}
		if _, err := m.Apply(entries[i:i+1], func(uint64, uint64, uint64, uint64, []any) {}); err != nil {
			return err
		}
	}
	return nil
}
