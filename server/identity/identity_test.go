package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func want() Identity { return Identity{ClusterID: 7, MemberID: 1, Name: "1"} }

func open(t *testing.T, root string, w Identity) *Dir {
	t.Helper()
	d, err := Open(root, w)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func close(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRestartKeepsIncarnationAndCountsBoots(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, want())
	first := d.Incarnation
	if first == 0 || d.Boot != 1 || d.Complete {
		t.Fatalf("new directory: %+v", d.Identity)
	}
	close(t, d)
	d = open(t, root, want())
	defer close(t, d)
	if d.Incarnation != first || d.Boot != 2 {
		t.Fatalf("after a restart: %+v, want incarnation %d and boot 2", d.Identity, first)
	}
}

func TestRemovedDirectoryGetsAnotherIncarnation(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	d := open(t, root, want())
	first := d.Incarnation
	close(t, d)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	d = open(t, root, want())
	defer close(t, d)
	if d.Incarnation == first {
		t.Fatal("a new directory has the incarnation of the old one")
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, root string)
		want    Identity
		text    string
	}{
		"foreign":       {func(t *testing.T, root string) { write(t, filepath.Join(root, "photo.jpg"), "x") }, want(), `holds "photo.jpg"`},
		"etcd":          {func(t *testing.T, root string) { write(t, filepath.Join(root, "member", "snap", "db"), "x") }, want(), "database of etcd"},
		"other member":  {complete, Identity{ClusterID: 7, MemberID: 2}, "belongs to another member"},
		"other cluster": {complete, Identity{ClusterID: 8, MemberID: 1}, "belongs to another member or cluster"},
		"wal missing": {func(t *testing.T, root string) {
			complete(t, root)
			if err := os.RemoveAll(filepath.Join(root, "member", "wal")); err != nil {
				t.Fatal(err)
			}
		}, want(), "half empty"},
		"state empty": {func(t *testing.T, root string) {
			complete(t, root)
			if err := os.Remove(filepath.Join(root, "member", "state", "file")); err != nil {
				t.Fatal(err)
			}
		}, want(), "half empty"},
		"identity missing": {func(t *testing.T, root string) {
			complete(t, root)
			if err := os.Remove(filepath.Join(root, "member", "identity.json")); err != nil {
				t.Fatal(err)
			}
		}, want(), "half empty"},
		"damaged": {func(t *testing.T, root string) {
			complete(t, root)
			write(t, filepath.Join(root, "member", "identity.json"), "{")
		}, want(), "is damaged"},
		"newer format": {func(t *testing.T, root string) {
			complete(t, root)
			write(t, filepath.Join(root, "member", "identity.json"), `{"format": 9}`)
		}, want(), "has format 9"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			c.prepare(t, root)
			d, err := Open(root, c.want)
			if err == nil {
				close(t, d)
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%q does not say %q", err, c.text)
			}
		})
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, want())
	if _, err := Open(root, want()); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v, want ErrInUse", err)
	}
	close(t, d)
	close(t, open(t, root, want()))
}

func TestInterruptedCreationIsDiscarded(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, want())
	if err := os.MkdirAll(d.WAL(), 0o700); err != nil {
		t.Fatal(err)
	}
	close(t, d)
	d = open(t, root, want())
	defer close(t, d)
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.WAL()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("log still there: %v", err)
	}
	if err := d.MarkComplete(); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err == nil {
		t.Fatal("a complete directory was discarded")
	}
}

func TestLedgerSurvivesRestartAndRefusesASecondLife(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, want())
	l, err := d.OpenLedger()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Meet(2, 100); err != nil {
		t.Fatal(err)
	}
	close(t, d)
	d = open(t, root, want())
	defer close(t, d)
	l, err = d.OpenLedger()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Meet(2, 100); err != nil {
		t.Fatalf("the same incarnation: %v", err)
	}
	if err := l.Meet(2, 101); !errors.Is(err, ErrBootstrapped) {
		t.Fatalf("another incarnation: %v, want ErrBootstrapped", err)
	}
}

func TestLedgerRefusesADirectoryThatWentBack(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, want())
	l, err := d.OpenLedger()
	if err != nil {
		t.Fatal(err)
	}
	for _, boot := range []uint64{3, 3, 5} {
		if err := l.MeetBoot(2, boot); err != nil {
			t.Fatalf("start %d: %v", boot, err)
		}
	}
	close(t, d)
	d = open(t, root, want())
	defer close(t, d)
	if l, err = d.OpenLedger(); err != nil {
		t.Fatal(err)
	}
	if err := l.MeetBoot(2, 4); !errors.Is(err, ErrOldDirectory) {
		t.Fatalf("an older start: %v, want ErrOldDirectory", err)
	}
	if err := errors.Join(l.MeetBoot(2, 0), l.MeetBoot(3, 1), l.MeetBoot(2, 6)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Forget(2), l.MeetBoot(2, 1)); err != nil {
		t.Fatalf("after it was forgotten: %v", err)
	}
}

func TestLedgerConfirmsNothingItCouldNotSave(t *testing.T) {
	broken := errors.New("disk full")
	l := NewLedger(Records{}, func(Records) error { return broken })
	for range 2 {
		if err := l.Meet(2, 100); !errors.Is(err, broken) {
			t.Fatalf("%v, want the error of the disk", err)
		}
	}
}

// Any two sets of confirming others share a member, whatever the size.
func TestConfirmationsOfTwoLivesOverlap(t *testing.T) {
	for voters := 2; voters <= 9; voters++ {
		others := voters - 1
		if n := ConfirmationsNeeded(voters); 2*n <= others || n > others {
			t.Errorf("%d voters: %d of %d others", voters, n, others)
		}
	}
	if ConfirmationsNeeded(1) != 0 {
		t.Error("a lone member has nobody to ask")
	}
}

func TestIDsDependOnURLsAndTokenOnly(t *testing.T) {
	a := MemberID([]string{"http://a:1", "http://b:2"}, "t")
	if b := MemberID([]string{"http://b:2", "http://a:1"}, "t"); a != b {
		t.Error("the order of the URLs matters")
	}
	if c := MemberID([]string{"http://a:1", "http://b:2"}, "u"); a == c {
		t.Error("the token does not matter")
	}
	if ClusterID([]uint64{1, 2}) != ClusterID([]uint64{2, 1}) {
		t.Error("the order of the members matters")
	}
}

func complete(t *testing.T, root string) {
	t.Helper()
	d := open(t, root, want())
	for _, dir := range []string{d.WAL(), d.State()} {
		write(t, filepath.Join(dir, "file"), "x")
	}
	if err := d.MarkComplete(); err != nil {
		t.Fatal(err)
	}
	close(t, d)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
