package operator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"raftkv/server/identity"
	"raftkv/snap"
)

var restoreDefaults = RestoreOptions{BumpRevision: DefaultBumpRevision}

func TestStatus(t *testing.T) {
	path, want := sampleFile(t)
	read := int64(0)
	st, err := Status(context.Background(), path, func(n int64) { read = n })
	if err != nil {
		t.Fatal(err)
	}
	if st.Keys != 19 || st.Revision != 22 || st.ClusterID != oldCluster || st.Index != want.Index || st.HashKV == 0 ||
		len(st.Alarms) != 1 || st.Alarms[0] != "NOSPACE" || len(st.Members) != 3 || read != st.SizeBytes {
		t.Errorf("%+v, read %d", st, read)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[len(b)-32:], st.SHA256) {
		t.Error("another SHA-256 than the file's")
	}
}

// Three nodes restored from one file are one cluster with equal states, another
// one than the file is of.
func TestRestoreThreeNodes(t *testing.T) {
	path, old := sampleFile(t)
	var hashes []uint64
	clusters := map[uint64]bool{}
	for _, target := range threeNodes(t) {
		r, err := Restore(context.Background(), path, target, restoreDefaults)
		if err != nil {
			t.Fatal(err)
		}
		id, s, hash := check(t, target.DataDir)
		hashes, clusters[s.ClusterID] = append(hashes, hash), true
		if id.ClusterID != s.ClusterID || r.ClusterID != s.ClusterID || id.MemberID != r.MemberID || id.Name != target.Name || !id.Prepared || id.Complete {
			t.Errorf("identity %+v, result %+v, state of cluster %x", id, r, s.ClusterID)
		}
		if s.ClusterID == old.ClusterID || s.Index != old.Index || s.Term != old.Term {
			t.Errorf("cluster %x at %d of term %d", s.ClusterID, s.Index, s.Term)
		}
		if want := old.Revision + DefaultBumpRevision; s.Revision != want || s.CompactedRevision != want || r.Revision != want {
			t.Errorf("revision %d, compacted %d, want %d", s.Revision, s.CompactedRevision, want)
		}
		if len(s.Alarms) != 0 || len(s.Removed) != 0 || len(s.Members) != 3 || len(s.ConfState.GetVoters()) != 3 || len(r.Warnings) != 1 {
			t.Errorf("state %+v, warnings %q", s, r.Warnings)
		}
		for _, m := range s.Members {
			if m.Incarnation != 0 || m.ID == oldMember {
				t.Errorf("member %+v", m)
			}
		}
	}
	if len(clusters) != 1 || hashes[0] != hashes[1] || hashes[1] != hashes[2] {
		t.Errorf("clusters %v, state hashes %x", clusters, hashes)
	}
	other := threeNodes(t)[0]
	other.Token = "another"
	r, err := Restore(context.Background(), path, other, restoreDefaults)
	if err != nil || clusters[r.ClusterID] {
		t.Errorf("another token gives the same cluster %x (%v)", r.ClusterID, err)
	}
}

func TestRestoreKeepsRevision(t *testing.T) {
	path, old := sampleFile(t)
	target := threeNodes(t)[0]
	if _, err := Restore(context.Background(), path, target, RestoreOptions{KeepHistory: true}); err != nil {
		t.Fatal(err)
	}
	if _, s, _ := check(t, target.DataDir); s.Revision != old.Revision || s.CompactedRevision != old.CompactedRevision {
		t.Errorf("revision %d compacted %d, want %d and %d", s.Revision, s.CompactedRevision, old.Revision, old.CompactedRevision)
	}
}

// A restore that is killed between any two steps leaves nothing that a member
// starts on, and the next one succeeds.
func TestRestoreInterrupted(t *testing.T) {
	path, _ := sampleFile(t)
	target := threeNodes(t)[0]
	images := map[string]string{}
	target.reached = func(step string) error {
		if exists(t, target.DataDir) {
			images[step] = filepath.Join(t.TempDir(), "image")
			copyDir(t, target.DataDir, images[step])
		}
		return nil
	}
	if _, err := Restore(context.Background(), path, target, restoreDefaults); err != nil {
		t.Fatal(err)
	}
	_, _, want := check(t, target.DataDir)
	if len(images) != 6 {
		t.Fatalf("steps %v", images)
	}
	target.reached = nil
	for step, image := range images {
		target.DataDir = image
		if step != "renamed" {
			if _, err := identity.Open(image, identity.Identity{ClusterID: 1, MemberID: 1}); err == nil {
				t.Errorf("%s: a member starts on what is left", step)
			}
			if _, err := Restore(context.Background(), path, target, restoreDefaults); err != nil {
				t.Errorf("%s: again: %v", step, err)
			}
		}
		if _, _, hash := check(t, image); hash != want {
			t.Errorf("%s: another state", step)
		}
	}
}

// A data directory with nothing in it is that of a new member, so a restore never
// has one, neither from nothing nor after one that was killed.
func TestRestoreHasNoEmptyDirectory(t *testing.T) {
	path, _ := sampleFile(t)
	target := threeNodes(t)[0]
	partial, staging := filepath.Join(target.DataDir, identity.PartialName), target.DataDir+stagingSuffix
	for name, left := range map[string]string{
		"from nothing": "", "after a kill": filepath.Join(partial, "state"),
		"after a kill at the beginning": partial, "after a kill before that": filepath.Join(staging, identity.PartialName),
	} {
		if err := os.MkdirAll(left, 0o700); left != "" && err != nil {
			t.Fatal(err)
		}
		steps := map[string]bool{}
		target.reached = func(step string) error {
			steps[step] = true
			if entries, err := os.ReadDir(target.DataDir); err == nil && len(entries) == 0 {
				t.Errorf("%s: at %q the data directory is empty", name, step)
			}
			return nil
		}
		if _, err := Restore(context.Background(), path, target, restoreDefaults); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if steps["staged"] == steps["emptied"] || exists(t, staging) {
			t.Errorf("%s: steps %v", name, steps)
		}
		check(t, target.DataDir)
		if err := os.RemoveAll(target.DataDir); err != nil {
			t.Fatal(err)
		}
	}
}

// What has the name that a restore wants for itself, and is not its own, stays.
func TestRestoreRemovesNothingOfOthers(t *testing.T) {
	path, _ := sampleFile(t)
	target := threeNodes(t)[0]
	precious := filepath.Join(target.DataDir+stagingSuffix, "precious")
	if err := errors.Join(os.MkdirAll(filepath.Dir(precious), 0o700), os.WriteFile(precious, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(context.Background(), path, target, restoreDefaults); err == nil || !exists(t, precious) || exists(t, target.DataDir) {
		t.Errorf("it was taken, or there is a data directory: %v", err)
	}
}

// An error, unlike a kill, is cleaned up after.
func TestRestoreFailureLeavesNothing(t *testing.T) {
	path, _ := sampleFile(t)
	broken := errors.New("broken")
	for _, at := range []string{"created", "extracted", "state made", "log made", "identity made"} {
		target := threeNodes(t)[0]
		target.reached = func(step string) error {
			if step == at {
				return broken
			}
			return nil
		}
		if _, err := Restore(context.Background(), path, target, restoreDefaults); !errors.Is(err, broken) {
			t.Errorf("%s: %v", at, err)
		}
		if exists(t, filepath.Join(target.DataDir, identity.PartialName)) || exists(t, filepath.Join(target.DataDir, "member")) {
			t.Errorf("%s: something is left", at)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	path, _ := sampleFile(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(content)
	damaged[len(damaged)/2] ^= 1
	etcd := make([]byte, 8192)
	binary.NativeEndian.PutUint32(etcd[16:], bboltMagic)
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"damaged": {damaged, snap.ErrCorrupt}, "truncated": {content[:len(content)-600], snap.ErrCorrupt},
		"longer":  {append(bytes.Clone(content), content...), snap.ErrCorrupt},
		"foreign": {[]byte("hello, world; this is a text"), snap.ErrForeignFile}, "empty": {nil, snap.ErrForeignFile}, "etcd's": {etcd, ErrEtcdFile},
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		target := threeNodes(t)[0]
		if _, err := Restore(context.Background(), bad, target, restoreDefaults); !errors.Is(err, c.want) {
			t.Errorf("%s: restore: %v, want %v", name, err, c.want)
		}
		if _, err := Status(context.Background(), bad, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: status: %v, want %v", name, err, c.want)
		}
		if exists(t, target.DataDir) {
			t.Errorf("%s: a data directory was made", name)
		}
	}
	target := threeNodes(t)[0]
	mine := filepath.Join(target.DataDir, "mine")
	if err := errors.Join(os.MkdirAll(target.DataDir, 0o700), os.WriteFile(mine, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(context.Background(), path, target, restoreDefaults); !errors.Is(err, ErrNotEmpty) || !exists(t, mine) {
		t.Errorf("not empty: %v", err)
	}
	target = threeNodes(t)[0]
	target.Name = "stranger"
	if _, err := Restore(context.Background(), path, target, restoreDefaults); err == nil {
		t.Error("a member that is not in the list was restored")
	}
	target = threeNodes(t)[0]
	if _, err := Restore(context.Background(), path, target, RestoreOptions{BumpRevision: 1 << 62}); err == nil {
		t.Error("a revision beyond all bounds was taken")
	}
}

func TestSaveFileKeepsTheOldOne(t *testing.T) {
	path, _ := sampleFile(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, garbage := range []string{"", "not a snapshot", string(before[:len(before)-1])} {
		if err := SaveFile(context.Background(), path, writes(garbage)); err == nil {
			t.Errorf("%.20q was saved", garbage)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the old file was harmed (%v)", err)
		}
		if exists(t, path+".part") {
			t.Error("the new file is left")
		}
	}
}
