package operator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/snap"
	"raftkv/statemachine"
)

// SnapshotStatus is what a snapshot file holds, every byte of it verified.
type SnapshotStatus struct {
	ClusterID, MemberID, Index, Term uint64
	Revision, CompactedRevision      int64
	// Keys is how many exist at Revision, HashKV etcd's hash of the key space.
	Keys      int64
	HashKV    uint32
	SizeBytes int64
	SHA256    []byte
	Version   string
	Members   []statemachine.Member
	// Alarms are those of the cluster then, in words.
	Alarms []string
}

// ErrEtcdFile means that a file is a database or snapshot of etcd.
var ErrEtcdFile = errors.New("a snapshot or database of etcd, which has another format; use raft-cli import --from-etcd")

// Status verifies a snapshot file and tells what it holds. progress, if not
// nil, is told how much of it was read.
func Status(ctx context.Context, path string, progress func(bytes int64)) (status SnapshotStatus, err error) {
	saved, err := openSaved(ctx, path, progress)
	if err != nil {
		return status, err
	}
	defer func() { err = errors.Join(err, saved.Close()) }()
	h := saved.SavedHeader
	status = SnapshotStatus{
		ClusterID: h.ClusterID, MemberID: h.MemberID, Index: h.Index, Term: h.Term,
		Revision: h.Revision, CompactedRevision: h.CompactedRevision,
		SizeBytes: saved.SizeBytes, SHA256: saved.SHA256[:], Version: h.Version,
	}
	fs, dir, err := saved.FS()
	if err != nil {
		return status, err
	}
	err = statemachine.Examine(fs, dir, func(e *statemachine.Examined) error {
		if err := checkHeader(h, e.Summary); err != nil {
			return err
		}
		status.Members = e.Members
		for _, a := range e.Alarms {
			status.Alarms = append(status.Alarms, a.GetAlarm().String())
		}
		if status.Keys, err = e.Keys(ctx); err != nil {
			return err
		}
		status.HashKV, err = e.HashKV(ctx)
		return err
	})
	if err != nil {
		return status, fmt.Errorf("%s: %w", path, err)
	}
	return status, nil
}

// openSaved opens and verifies a snapshot file, and names what is none.
func openSaved(ctx context.Context, path string, progress func(int64)) (*snap.Saved, error) {
	saved, err := snap.OpenSaved(ctx, path, progress)
	if errors.Is(err, snap.ErrForeignFile) && isBbolt(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrEtcdFile)
	}
	return saved, err
}

// bboltMagic is at the beginning of both meta pages of bbolt, behind a page
// header of 16 bytes.
const bboltMagic = 0xED0CDAED

func isBbolt(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 20)
	if _, err := f.ReadAt(head, 0); err != nil {
		return false
	}
	magic := make([]byte, 4)
	binary.NativeEndian.PutUint32(magic, bboltMagic)
	return bytes.Equal(head[16:], magic)
}

// checkHeader makes sure that a snapshot file says of itself what its state says.
func checkHeader(h snap.SavedHeader, s statemachine.Summary) error {
	if h.ClusterID != s.ClusterID || h.Index != s.Index || h.Term != s.Term || h.Revision != s.Revision ||
		h.CompactedRevision != s.CompactedRevision || h.RollingHash != s.RollingHash {
		return fmt.Errorf("%w: its header speaks of cluster %x, index %d, revision %d, its state is of cluster %x, index %d, revision %d",
			snap.ErrCorrupt, h.ClusterID, h.Index, h.Revision, s.ClusterID, s.Index, s.Revision)
	}
	return nil
}

// DefaultBumpRevision is more than a cluster writes between a snapshot and the
// moment it is lost.
const DefaultBumpRevision = 1_000_000_000

// RestoreOptions say how history goes on in the restored cluster.
type RestoreOptions struct {
	// BumpRevision is how much newer than the snapshot's the first revision is.
	// What clients have seen of the lost cluster must be older than that: then a
	// watch that goes on from there is told that its revision is compacted, and
	// caches begin anew.
	BumpRevision int64
	// KeepHistory leaves older revisions readable, which only makes sense with
	// BumpRevision 0: whoever has seen more of the lost cluster is not told.
	KeepHistory bool
	Progress    func(bytes int64)
}

// Restored describes a data directory that was made.
type Restored struct {
	ClusterID, MemberID uint64
	Index               uint64
	Revision            int64
	// Warnings are for the operator.
	Warnings []string
}

// Restore makes a data directory from a snapshot file.
func Restore(ctx context.Context, path string, t Target, o RestoreOptions) (r Restored, err error) {
	t.EnsureDefaults()
	if err := t.Validate(); err != nil {
		return r, err
	}
	if err := t.checkEmpty(); err != nil {
		return r, err
	}
	saved, err := openSaved(ctx, path, o.Progress)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, saved.Close()) }()
	f := t.found(saved.SHA256[:])
	refounding := statemachine.Refounding{BumpRevision: o.BumpRevision, CompactBelow: !o.KeepHistory}
	err = t.build(f, refounding, func(m *statemachine.Machine, scratch string) error {
		if err := saved.Extract(ctx, vfs.Default, scratch); err != nil {
			return err
		}
		if err := t.reached("extracted"); err != nil {
			return err
		}
		if err := m.Replace(scratch); err != nil {
			return err
		}
		s := m.Summarize()
		r.Index = s.Index
		for _, a := range s.Alarms {
			r.Warnings = append(r.Warnings, fmt.Sprintf("the cluster that this snapshot is of had a %s alarm (member %x), which is cleared", a.GetAlarm(), a.GetMemberID()))
		}
		return checkHeader(saved.SavedHeader, s)
	})
	r.ClusterID, r.MemberID, r.Revision = f.clusterID, f.memberID, saved.Revision+o.BumpRevision
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", path, err)
	}
	return r, nil
}
