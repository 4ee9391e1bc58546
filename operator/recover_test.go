package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/server/identity"
	"raftkv/statemachine"
	"raftkv/wal"
)

// restored is a member of three whose directory was restored, opened offline.
type restored struct {
	path    string
	dir     *identity.Dir
	machine *statemachine.Machine
	log     *wal.Log
	meta    *raftpb.SnapshotMetadata // of what its state holds
}

// restoredMember restores a snapshot file and opens what it made.
func restoredMember(t *testing.T, path string) (r restored) {
	t.Helper()
	target := threeNodes(t)[0]
	if _, err := Restore(context.Background(), path, target, RestoreOptions{KeepHistory: true}); err != nil {
		t.Fatal(err)
	}
	id, _, err := identity.Peek(target.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if r.dir, err = identity.Open(target.DataDir, id); err != nil {
		t.Fatal(err)
	}
	r.path, r.machine = target.DataDir, openMachine(t, r.dir.State())
	if r.meta, err = r.machine.Durable(); err != nil {
		t.Fatal(err)
	}
	r.log, err = wal.Open(wal.Options{Dir: r.dir.WAL(), Metadata: wal.Metadata{ClusterID: id.ClusterID, MemberID: id.MemberID}}, r.meta)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// stop appends entries, so many of them committed, and closes the directory.
func (r *restored) stop(t *testing.T, committed uint64, entries []*raftpb.Entry) {
	t.Helper()
	hs := &raftpb.HardState{Term: new(uint64(2)), Vote: new(uint64(0)), Commit: new(r.meta.GetIndex() + committed)}
	err := errors.Join(r.log.Append(hs, entries), r.dir.MarkComplete(), r.log.Close(), r.machine.Close(), r.dir.Close())
	if err != nil {
		t.Fatal(err)
	}
}

// usedDir is the data directory of a member of three that has stopped: five
// entries behind what its state has, the last two not committed.
func usedDir(t *testing.T) string {
	t.Helper()
	path, _ := sampleFile(t)
	r := restoredMember(t, path)
	var entries []*raftpb.Entry
	for i := range uint64(5) {
		entries = append(entries, put(t, r.meta.GetIndex()+1+i, fmt.Sprintf("late-%d", i), "late"))
	}
	r.stop(t, 3, entries)
	return r.path
}

func lateKeys(t *testing.T, dataDir string) (n int64) {
	t.Helper()
	m := openMachine(t, filepath.Join(dataDir, "member", "state"))
	n = m.Revision() - 22 // the sample's
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRecover(t *testing.T) {
	for _, keep := range []bool{false, true} {
		dir := usedDir(t)
		r := Recovery{DataDir: dir, KeepUncommitted: keep, Now: time.Unix(0, 0)}
		plan, err := r.Plan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if plan.Committed != plan.Applied+3 || plan.Last != plan.Applied+5 || plan.Uncommitted() != 2 || plan.Alone || len(plan.Members) != 3 {
			t.Fatalf("%+v", plan)
		}
		done, err := r.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		id, s, _ := check(t, dir)
		want := int64(3)
		if keep {
			want = 5
		}
		if got := lateKeys(t, dir); got != want || done.Dropped != uint64(5-want) {
			t.Errorf("keep %v: %d late writes, %d dropped", keep, got, done.Dropped)
		}
		if s.ClusterID == plan.ClusterID || id.MemberID == plan.MemberID || len(s.Members) != 1 || s.Members[0].Name != "1" ||
			s.Members[0].PeerURLs[0] != "http://new:0" || len(s.ConfState.GetVoters()) != 1 {
			t.Errorf("new cluster: %+v", s)
		}
		// What was there is there as it was: recovering it again gives the same.
		old := t.TempDir()
		if err := os.Rename(done.Kept, filepath.Join(old, "member")); err != nil {
			t.Fatal(err)
		}
		again := Recovery{DataDir: old}
		if p, err := again.Plan(context.Background()); err != nil || p.Last != plan.Last || p.Applied != plan.Applied || p.ClusterID != plan.ClusterID {
			t.Errorf("the old directory: %+v, %v", p, err)
		}
		if p, err := r.Plan(context.Background()); err != nil || !p.Alone {
			t.Errorf("a second plan: %+v, %v", p, err)
		}
	}
}

// A recovery that is killed anywhere is gone on with, or begins anew.
func TestRecoverInterrupted(t *testing.T) {
	dir := usedDir(t)
	images := map[string]string{}
	r := Recovery{DataDir: dir}
	r.reached = func(step string) error {
		images[step] = filepath.Join(t.TempDir(), "image")
		copyDir(t, dir, images[step])
		return nil
	}
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(images) != 5 {
		t.Errorf("steps %v", images)
	}
	for step, image := range images {
		if _, err := identity.Open(image, identity.Identity{ClusterID: 1, MemberID: 1}); err == nil || !strings.Contains(err.Error(), "run that command again") {
			t.Errorf("%s: a member starts in the middle, or says nothing of it: %v", step, err)
		}
		again := Recovery{DataDir: image}
		if p, err := again.Plan(context.Background()); err != nil || len(p.Members) != 3 || p.Last != p.Applied+5 || p.Interrupted != (step == "kept") {
			t.Errorf("%s: plan %+v, %v", step, p, err)
		}
		done, err := again.Run(context.Background())
		if err != nil {
			t.Errorf("%s: %v", step, err)
			continue
		}
		if id, _, _ := identity.Peek(image); id.ClusterID != done.NewClusterID || id.MemberID != done.NewMemberID || !exists(t, done.Kept) {
			t.Errorf("%s: said %+v, is %+v", step, done, id)
		}
		if _, s, _ := check(t, image); len(s.Members) != 1 || lateKeys(t, image) != 3 {
			t.Errorf("%s: %+v", step, s)
		}
	}
}

func findings(t *testing.T, dir string) (text string, err error) {
	t.Helper()
	var b strings.Builder
	err = VerifyDir(context.Background(), dir, func(f Finding) { fmt.Fprintf(&b, "%s: %s %v\n", f.What, f.Detail, f.Err) })
	return b.String(), err
}

func TestVerify(t *testing.T) {
	dir := usedDir(t)
	before := sums(t, dir)
	if text, err := findings(t, dir); err != nil || strings.Count(text, "\n") != 5 {
		t.Fatalf("%v\n%s", err, text)
	}
	for path, sum := range sums(t, dir) {
		if before[path] != sum {
			t.Errorf("%s was changed", path)
		}
	}
	lock, err := identity.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := findings(t, dir); !errors.Is(err, identity.ErrInUse) {
		t.Errorf("while it is in use: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".sst", ".wal", "identity.json", "CURRENT"} {
		image := filepath.Join(t.TempDir(), "image")
		copyDir(t, dir, image)
		damage(t, image, suffix)
		if text, err := findings(t, image); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v\n%s", suffix, err, text)
		}
	}
}

func walk(t *testing.T, dir string, visit func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		visit(path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sums(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	walk(t, dir, func(path string, content []byte) {
		all[path] = fmt.Sprint(len(content)) + string(bytes.TrimRight(content, "\x00"))
	})
	return all
}

// damage flips a byte in the middle of what a file holds.
func damage(t *testing.T, dir, suffix string) {
	t.Helper()
	hit := false
	walk(t, dir, func(path string, content []byte) {
		if hit || !strings.HasSuffix(path, suffix) || len(content) == 0 {
			return
		}
		hit = true
		used := len(bytes.TrimRight(content, "\x00"))
		content[used/2] ^= 0x10
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(content[:used], 0)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	})
	if !hit {
		t.Fatalf("no file %s", suffix)
	}
}

func TestDump(t *testing.T) {
	dir := usedDir(t)
	var text, raw bytes.Buffer
	if err := errors.Join(DumpLog(&text, dir), DumpRaw(t.Context(), &raw, dir, t.Errorf)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "entry     index 26 term 2 batch 26") || !strings.Contains(text.String(), `key:"late-2"`) {
		t.Errorf("%s", text.String())
	}
	lines := strings.Split(strings.TrimSpace(raw.String()), "\n")
	if lines[0] != "commit 26" || len(lines) != 6 || !strings.HasPrefix(lines[1], "24 2 normal ") {
		t.Errorf("%s", raw.String())
	}
}

// A second recovery while one runs touches nothing, wherever the first is.
func TestRecoverTwiceAtOnce(t *testing.T) {
	r := Recovery{DataDir: usedDir(t)}
	seen := 0
	r.reached = func(step string) error {
		seen++
		if _, err := (&Recovery{DataDir: r.DataDir}).Run(context.Background()); !errors.Is(err, identity.ErrInUse) {
			t.Errorf("%s: %v", step, err)
		}
		return nil
	}
	if _, err := r.Run(context.Background()); err != nil || seen != 5 {
		t.Fatalf("%d steps, %v", seen, err)
	}
	if _, s, _ := check(t, r.DataDir); len(s.Members) != 1 {
		t.Errorf("%+v", s)
	}
	r.reached = nil
	if _, err := r.Run(context.Background()); !errors.Is(err, ErrAlone) {
		t.Errorf("a member that is alone: %v", err)
	}
}

// What cannot be read is not recovered from: nothing is there afterwards that
// was not there before.
func TestRecoverDamaged(t *testing.T) {
	for _, suffix := range []string{".sst", ".wal"} {
		dir := usedDir(t)
		damage(t, dir, suffix)
		before := sums(t, dir)
		r := Recovery{DataDir: dir}
		if _, err := r.Run(context.Background()); err == nil {
			t.Errorf("%s: recovered", suffix)
		}
		after := sums(t, dir)
		if len(after) != len(before) {
			t.Errorf("%s: %d files, then %d", suffix, len(before), len(after))
		}
	}
}
