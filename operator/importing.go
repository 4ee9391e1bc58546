package operator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
)

// ImportOptions say how an etcd database is read.
type ImportOptions struct {
	// SkipHashCheck takes a database without a trailer.
	SkipHashCheck bool
}

// Import makes a data directory from a snapshot or a database of etcd, with
// revisions, versions, tombstones and leases as they were. Users and roles are
// kept as etcd wrote them.
func Import(ctx context.Context, path string, t Target, o ImportOptions) (r Restored, err error) {
	t.EnsureDefaults()
	if err := t.Validate(); err != nil {
		return r, err
	}
	if err := t.checkEmpty(); err != nil {
		return r, err
	}
	file, err := openEtcd(path, o.SkipHashCheck)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, file.close()) }()
	origin, err := sumOf(path)
	if err != nil {
		return r, err
	}
	f := t.found(origin)
	err = t.build(f, statemachine.Refounding{}, func(m *statemachine.Machine, _ string) error {
		conf := &raftpb.ConfState{}
		for _, member := range f.members {
			conf.Voters = append(conf.Voters, member.ID)
		}
		if err := m.Bootstrap(statemachine.Seed{ClusterID: f.clusterID, Index: 1, Term: 1, ConfState: conf, Members: f.members}); err != nil {
			return err
		}
		return r.take(ctx, m, file)
	})
	r.ClusterID, r.MemberID, r.Index = f.clusterID, f.memberID, 1
	if err != nil {
		return r, fmt.Errorf("import %s: %w", path, err)
	}
	return r, nil
}

// take moves everything over.
func (r *Restored) take(ctx context.Context, m *statemachine.Machine, file *etcdFile) (err error) {
	im, err := m.NewImporter()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, im.Discard())
		}
	}()
	_, newest, err := file.versions(ctx, im)
	if err != nil {
		return err
	}
	if err := file.leases(ctx, im); err != nil {
		return err
	}
	auth, err := file.auth(ctx, im)
	if err != nil {
		return err
	}
	compacted, swept, err := file.compaction()
	if err != nil {
		return err
	}
	done, err := im.Finish(newest, compacted, swept)
	r.Revision = done.Revision
	if done.Unattached > 0 {
		r.warn("%d keys carry a lease that the database does not have; they do not expire", done.Unattached)
	}
	if auth > 0 {
		r.warn("users, roles and whether authentication is on (%d records) were kept as etcd wrote them and are not enforced yet", auth)
	}
	alarms := 0
	err = errors.Join(err, file.each(ctx, bucketAlarms, func(_, _ []byte) error { alarms++; return nil }))
	if alarms > 0 {
		r.warn("%d alarms of the old members were left behind", alarms)
	}
	return err
}

func (r *Restored) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// sumOf names a file by its content.
func sumOf(path string) (sum []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	_, err = io.Copy(digest, f)
	return digest.Sum(nil), errors.Join(err, f.Close())
}
