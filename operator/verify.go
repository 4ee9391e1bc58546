package operator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/server/identity"
	"raftkv/statemachine"
	"raftkv/wal"
)

// Finding is one thing that was checked.
type Finding struct {
	What string
	// Detail says what was found; Err what is wrong, with file and offset as far
	// as they are known.
	Detail string
	Err    error
}

// ErrDamaged means that a data directory is not whole.
var ErrDamaged = errors.New("the data directory is damaged")

// remedy is what to do about a damaged directory.
const remedy = "remove this member from the cluster and add it again with an empty data directory; if it is the last one that lives, restore a snapshot"

// VerifyDir checks a data directory that no member runs on: identity, log,
// tables, records, and whether they agree. It changes nothing. Every finding is
// told to report; the error is ErrDamaged if one of them has one.
func VerifyDir(ctx context.Context, root string, report func(Finding)) (err error) {
	lock, err := identity.Lock(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	v := &verification{ctx: ctx, root: root, report: report}
	v.run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case v.damaged:
		return fmt.Errorf("%w: %s; %s", ErrDamaged, root, remedy)
	}
	return nil
}

type verification struct {
	ctx     context.Context
	root    string
	report  func(Finding)
	damaged bool

	id    identity.Identity
	state statemachine.Summary
}

func (v *verification) found(what string, err error, format string, args ...any) bool {
	v.damaged = v.damaged || err != nil
	v.report(Finding{What: what, Detail: fmt.Sprintf(format, args...), Err: err})
	return err == nil
}

func (v *verification) run() {
	id, _, err := identity.Peek(v.root)
	v.id = id
	if !v.found("identity", errors.Join(err, identity.CheckLedger(v.root)), "member %x (%q) of cluster %x, started %d times", id.MemberID, id.Name, id.ClusterID, id.Boot) {
		return
	}
	if !id.Complete && !id.Prepared {
		v.found("state", nil, "the member was never taken into a cluster: nothing in here counts yet")
		return
	}
	live, err := statemachine.LiveDatabase(vfs.Default, filepath.Join(v.root, "member", "state"))
	if !v.found("state", err, "live database %s", live) {
		return
	}
	v.tables(live)
	if !v.records(live) {
		return
	}
	v.log()
}

func (v *verification) tables(live string) {
	var broken []error
	tables, bytes, err := statemachine.CheckTables(v.ctx, vfs.Default, live, func(path string, err error) {
		broken = append(broken, fmt.Errorf("%s: %w", path, err))
	})
	v.found("tables", errors.Join(append(broken, err)...), "%d files, %d bytes, every block read", tables, bytes)
}

// records reads all that a member reads when it starts, and the key space.
func (v *verification) records(live string) bool {
	var keys int64
	var hash uint32
	err := statemachine.Examine(vfs.Default, live, func(e *statemachine.Examined) (err error) {
		v.state = e.Summary
		if err = e.CheckLevels(); err != nil {
			return err
		}
		if keys, err = e.Keys(v.ctx); err == nil {
			hash, err = e.HashKV(v.ctx)
		}
		return errors.Join(err, v.agrees(&e.Summary))
	})
	s := &v.state
	compacted := "nothing compacted"
	if s.CompactedRevision > 0 {
		compacted = fmt.Sprintf("compacted at %d", s.CompactedRevision)
	}
	return v.found("records", err, "index %d of term %d, revision %d, %s, %d keys, HashKV %08x, %d members",
		s.Index, s.Term, s.Revision, compacted, keys, hash, len(s.Members))
}

// agrees tells whether the tables agree with each other and with the identity.
func (v *verification) agrees(s *statemachine.Summary) error {
	var errs []error
	if s.ClusterID != v.id.ClusterID {
		errs = append(errs, fmt.Errorf("the state is of cluster %x, the identity of %x", s.ClusterID, v.id.ClusterID))
	}
	learners := map[uint64]bool{}
	for _, id := range s.ConfState.GetVoters() {
		learners[id] = false
	}
	for _, id := range s.ConfState.GetLearners() {
		learners[id] = true
	}
	for _, m := range s.Members {
		if learner, ok := learners[m.ID]; !ok || learner != m.IsLearner {
			errs = append(errs, fmt.Errorf("member %x is in the members table and not so in raft's configuration", m.ID))
		}
		delete(learners, m.ID)
	}
	if len(learners) > 0 {
		errs = append(errs, fmt.Errorf("%d ids of raft's configuration are no members", len(learners)))
	}
	if s.CompactedRevision > s.Revision {
		errs = append(errs, fmt.Errorf("compacted revision %d is beyond revision %d", s.CompactedRevision, s.Revision))
	}
	return errors.Join(errs...)
}

func (v *verification) log() {
	log, err := wal.Examine(wal.Options{
		Dir: logDir(v.root, v.id), Metadata: wal.Metadata{ClusterID: v.id.ClusterID, MemberID: v.id.MemberID},
	}, v.state.Meta())
	if err != nil {
		v.found("log", err, "")
		return
	}
	detail := fmt.Sprintf("%d segments, term %d, commit %d", log.Segments, log.State.GetTerm(), log.State.GetCommit())
	if n := len(log.Entries); n > 0 {
		detail += fmt.Sprintf(", entries %d to %d", log.Entries[0].GetIndex(), log.Entries[n-1].GetIndex())
	}
	if log.Torn != "" {
		detail += fmt.Sprintf("; a write was cut short (%s), the next start removes it", log.Torn)
	}
	v.found("log", nil, "%s", detail)
}
