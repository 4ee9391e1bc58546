package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"raftkv/test/e2e/harness"
)

// stoppedNode returns a cluster of one node that has written something and
// stopped.
func stoppedNode(t *testing.T) *harness.Node {
	t.Helper()
	c := harness.StartCluster(t, bin, 1)
	n := c.Nodes[0]
	value := strings.Repeat("v", 2000)
	for i := range 100 {
		if _, err := n.Client().Put(t.Context(), fmt.Sprintf("key/%d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	n.Signal(syscall.SIGTERM)
	if code := n.Exit(stopTime); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	return n
}

// refusesUnchanged is refuses, and the given rooms of the data directory must
// stay as they are.
func refusesUnchanged(t *testing.T, n *harness.Node, rooms []string, want string, more ...string) {
	t.Helper()
	before := digest(t, n.DataDir(), rooms)
	refuses(t, n.Command(more...), 1, want)
	if after := digest(t, n.DataDir(), rooms); !maps.Equal(before, after) {
		t.Errorf("a start that was refused changed the data directory\nbefore %v\nafter  %v", before, after)
	}
}

// digest hashes the files of rooms of a data directory.
func digest(t *testing.T, dir string, rooms []string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, room := range rooms {
		root := filepath.Join(dir, "member", room)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "LOCK" {
				return err
			}
			data, err := os.ReadFile(path)
			sums[path] = fmt.Sprintf("%x", sha256.Sum256(data))
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return sums
}

var logAndState = []string{"wal", "state"}

// TestForeignDirectory starts nodes on directories that are not theirs.
func TestForeignDirectory(t *testing.T) {
	c := harness.NewCluster(t, bin, 1)
	n := c.Nodes[0]
	if err := os.Mkdir(n.DataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.DataDir(), "thesis.tex"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, n.Command(), 1, `^raft-kv: not a data directory of raft-kv: `+n.DataDir()+` holds "thesis.tex"; choose another --data-dir or empty this one$`)
	if left := list(t, n.DataDir()); len(left) != 1 {
		t.Errorf("the directory now holds %q", left)
	}
}

// TestOtherMembersDirectory mixes up members and clusters.
func TestOtherMembersDirectory(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	one, two := c.Nodes[0], c.Nodes[1]
	one.Kill()
	two.Kill()
	const want = `^raft-kv: data directory belongs to another member or cluster: .*; check the cluster list, the id and the data directory$`
	refusesUnchanged(t, two, logAndState, want, "--data-dir", one.DataDir())

	other := harness.NewCluster(t, bin, 3)
	refusesUnchanged(t, one, logAndState, want, "--cluster", strings.Join(other.Endpoints(), ","))
	// The right flags still work.
	c.Start(one, two)
	c.Ready()
}

// TestDirectoryInUse starts a second process on the directory of a first.
func TestDirectoryInUse(t *testing.T) {
	c := harness.StartCluster(t, bin, 1)
	n := c.Nodes[0]
	second := harness.NewCluster(t, bin, 1).Nodes[0]
	refuses(t, second.Command("--data-dir", n.DataDir()), 1,
		`^raft-kv: data directory is in use by another process: `+n.DataDir()+`; stop that process or choose another --data-dir$`)
	if _, err := n.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Errorf("the first process suffered: %v", err)
	}
}

// TestHalfEmptyDirectory removes parts of a data directory.
func TestHalfEmptyDirectory(t *testing.T) {
	n := stoppedNode(t)
	for _, part := range []string{"wal", "state", "identity.json"} {
		path := filepath.Join(n.DataDir(), "member", part)
		aside := filepath.Join(t.TempDir(), part)
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		refusesUnchanged(t, n, logAndState, `^raft-kv: data directory `+n.DataDir()+` is half empty: .*`+regexp.QuoteMeta(part)+` is missing.*; remove this member from the cluster and add a new one with an empty directory$`)
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
	n.Start()
	n.Ready()
}

// TestDamagedLog flips one byte in the middle of a segment.
func TestDamagedLog(t *testing.T) {
	n := stoppedNode(t)
	segments, err := filepath.Glob(filepath.Join(n.DataDir(), "member", "wal", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segments (%v)", err)
	}
	const at = 100_000 // of about 200,000 bytes written
	flip := flipByte(t, segments[0], at)
	report := regexp.MustCompile(`is damaged at offset (\d+): `)
	refusesUnchanged(t, n, []string{"wal"}, `^raft-kv: .*`+segments[0]+` is damaged at offset \d+: .*; remove this member from the cluster and add a new one with an empty data directory$`)
	r := harness.Run(t, refusalTime, n.Command())
	var offset int
	if m := report.FindStringSubmatch(r.Stderr); m != nil {
		if _, err := fmt.Sscan(m[1], &offset); err != nil {
			t.Fatal(err)
		}
	}
	// The offset is that of the record around the byte; values have 2000 bytes.
	if offset > at || offset < at-3000 {
		t.Errorf("byte %d was flipped, damage is reported at %d", at, offset)
	}
	flip()
	n.Start()
	n.Ready()
}

// flipByte changes a byte of a file and returns how to change it back.
func flipByte(t *testing.T, path string, at int64) (back func()) {
	t.Helper()
	flip := func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x40
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	return flip
}

// TestDamagedState damages the files that lead to the state, in a copy of the
// directory each time.
func TestDamagedState(t *testing.T) {
	n := stoppedNode(t)
	manifest := filepath.Join("db-*", "MANIFEST-*")
	type damage = func(good []byte) []byte
	all := map[string]damage{
		"empty":         func([]byte) []byte { return nil },
		"garbage":       func([]byte) []byte { return bytes.Repeat([]byte("\xff\x00garbage\n"), 20) },
		"cut off":       func(good []byte) []byte { return good[:len(good)/2] },
		"one bit wrong": func(good []byte) []byte { return append([]byte{good[0] ^ 0x40}, good[1:]...) },
	}
	// Pebble then sees an empty database and no damage. A record has seven bytes
	// of head, of which two hold its length.
	rolledBack := maps.Clone(all)
	rolledBack["cut behind its first record"] = func(good []byte) []byte {
		return good[:7+binary.LittleEndian.Uint16(good[4:])]
	}
	for file, damages := range map[string]map[string]damage{"CURRENT": all, manifest: rolledBack} {
		for name, damage := range damages {
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "copy")
				if err := os.CopyFS(dir, os.DirFS(n.DataDir())); err != nil {
					t.Fatal(err)
				}
				damageFile(t, filepath.Join(dir, "member", "state", file), damage)
				refuses(t, n.Command("--data-dir", dir), 1, `^raft-kv: .*`+filepath.Join(dir, "member", "state")+`.*remove this member`)
			})
		}
	}
	n.Start()
	n.Ready()
}

// damageFile changes the last file, by name, that matches the pattern.
func damageFile(t *testing.T, pattern string, damage func([]byte) []byte) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s (%v)", pattern, err)
	}
	path := paths[len(paths)-1]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, damage(good), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLostDirectory removes the data directory of a running cluster's member
// and starts it with the old flags. It has forgotten its votes: it must not
// take part, and the others go on.
func TestLostDirectory(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	lost := c.Nodes[0]
	if _, err := c.Client().Put(t.Context(), "name", "Alice"); err != nil {
		t.Fatal(err)
	}
	lost.Kill()
	if err := os.RemoveAll(lost.DataDir()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what a first attempt leaves behind must not help a second one
		r := harness.Run(t, refusalTime, lost.Command())
		if r.Code != 1 || !bootstrapped(lost).MatchString(r.Stderr) {
			t.Errorf("a member that lost its directory started: %v", r)
		}
		for _, n := range c.Others(lost) {
			harness.Until(t, harness.Patience, fmt.Sprintf("node %d to go on serving", n.Number), func(ctx context.Context) error {
				resp, err := n.Client().Get(ctx, "name")
				switch {
				case err != nil:
					return err
				case len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "Alice":
					t.Fatalf("node %d reads %v", n.Number, resp.Kvs)
				}
				_, err = n.Client().Put(ctx, "other", "x")
				return err
			})
		}
	}
}

// bootstrapped is the last line of a node that is known with another directory.
func bootstrapped(n *harness.Node) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`(?m)^raft-kv: member [0-9a-f]+ \("%d"\) has already been bootstrapped: .*remove it from the cluster and add it again\n\z`, n.Number))
}
