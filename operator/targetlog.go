package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/server/identity"
	"raftkv/wal"
)

// claimName is a file that tells, inside an unfinished data directory, which
// log elsewhere is made for it. It is durable before that log, and goes once the
// data directory is in its place, so that an interrupted run can be undone.
const claimName = "log-claim.json"

// claim is what claimName holds.
type claim struct {
	Dir       string `json:"dir"`
	ClusterID uint64 `json:"cluster_id"`
	MemberID  uint64 `json:"member_id"`
}

// checkSeparate makes sure that a log elsewhere is elsewhere.
func (t *Target) checkSeparate() error {
	if t.WALDir == "" || t.DataDir == "" {
		return nil
	}
	dir, err := filepath.Abs(t.WALDir)
	if err != nil {
		return fmt.Errorf("--wal-dir: %w", err)
	}
	root, err := filepath.Abs(t.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	for _, pair := range [][2]string{{root, dir}, {dir, root}} {
		if pair[0] == pair[1] || strings.HasPrefix(pair[1], strings.TrimSuffix(pair[0], "/")+"/") {
			return fmt.Errorf("--wal-dir %s and --data-dir %s must not contain each other", dir, root)
		}
	}
	return nil
}

// makeLog makes the log and returns what the identity has to say of its place.
func (t *Target) makeLog(partial string, f founding, anchor *raftpb.SnapshotMetadata) (walDir string, err error) {
	opts := wal.Options{
		Dir: filepath.Join(partial, "wal"), Logger: t.Logger,
		Metadata: wal.Metadata{ClusterID: f.clusterID, MemberID: f.memberID},
	}
	if t.WALDir == "" {
		return "", wal.Create(opts, anchor)
	}
	if opts.Dir, err = filepath.Abs(t.WALDir); err != nil {
		return "", err
	}
	if err := writeClaim(partial, claim{opts.Dir, f.clusterID, f.memberID}); err != nil {
		return "", err
	}
	return opts.Dir, wal.Create(opts, anchor)
}

// checkWALDirEmpty refuses a log directory that holds something.
func (t *Target) checkWALDirEmpty() error {
	if t.WALDir == "" {
		return nil
	}
	entries, err := os.ReadDir(t.WALDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look into --wal-dir: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%w: --wal-dir %s holds %q; choose an empty directory", ErrNotEmpty, t.WALDir, entries[0].Name())
	}
	return nil
}

func writeClaim(partial string, c claim) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(partial, claimName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), identity.SyncDir(partial))
}

// releaseClaim ends the claim: the identity says where the log is. One that
// stays, after a crash, is never looked at.
func releaseClaim(member string) error {
	err := os.Remove(filepath.Join(member, claimName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// discardLog removes a log elsewhere that an interrupted run made. Only a log
// that carries the ids of that run is its own.
func (t *Target) discardLog() error {
	partial := filepath.Join(t.DataDir, identity.PartialName)
	data, err := os.ReadFile(filepath.Join(partial, claimName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var c claim
	if err == nil && json.Unmarshal(data, &c) != nil {
		return nil // the claim was not durable, so no log was made yet
	}
	if err != nil {
		return fmt.Errorf("read the claim of an unfinished run: %w", err)
	}
	if !wal.Exists(c.Dir) {
		return nil
	}
	meta, err := wal.ReadMetadata(c.Dir)
	if err != nil || meta != (wal.Metadata{ClusterID: c.ClusterID, MemberID: c.MemberID}) {
		return errors.Join(err, fmt.Errorf("%w: %s holds the log of another member", ErrNotEmpty, c.Dir))
	}
	segments, err := filepath.Glob(filepath.Join(c.Dir, "*.wal"))
	if err != nil {
		return err
	}
	for _, s := range segments {
		err = errors.Join(err, os.Remove(s))
	}
	return err
}
