package operator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftkv/server/identity"
	"raftkv/wal"
)

// A log elsewhere is made there, is found there, and an interrupted run leaves
// nothing that would stop the next one.
func TestRestoreLogElsewhere(t *testing.T) {
	path, _ := sampleFile(t)
	for _, stop := range []string{"", "created", "extracted", "state made", "log made", "identity made"} {
		target := threeNodes(t)[0]
		target.WALDir = filepath.Join(t.TempDir(), "disk", "log")
		if stop != "" {
			image, logImage := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "log")
			target.reached = func(step string) error {
				if step != stop {
					return nil
				}
				if wal.Exists(target.WALDir) {
					copyDir(t, target.WALDir, logImage)
				}
				copyDir(t, target.DataDir, image)
				return nil
			}
			if _, err := Restore(context.Background(), path, target, RestoreOptions{}); err != nil {
				t.Fatal(err)
			}
			// Back to what a kill at that step leaves.
			if err := errors.Join(os.RemoveAll(target.DataDir), os.RemoveAll(target.WALDir), os.Rename(image, target.DataDir)); err != nil {
				t.Fatal(err)
			}
			if exists(t, logImage) {
				if err := os.Rename(logImage, target.WALDir); err != nil {
					t.Fatal(err)
				}
			}
			target.reached = nil
		}
		if _, err := Restore(context.Background(), path, target, RestoreOptions{}); err != nil {
			t.Errorf("after %q: %v", stop, err)
			continue
		}
		id, _, err := identity.Peek(target.DataDir)
		if err != nil || id.WALDir != target.WALDir || !wal.Exists(target.WALDir) || exists(t, filepath.Join(target.DataDir, "member", "wal")) {
			t.Errorf("after %q: %+v, %v", stop, id, err)
		}
		check(t, target.DataDir)
		if text, err := findings(t, target.DataDir); err != nil {
			t.Errorf("after %q: %v\n%s", stop, err, text)
		}
	}
}

func TestRestoreRefusesUsedLogDirectory(t *testing.T) {
	path, _ := sampleFile(t)
	target := threeNodes(t)[0]
	target.WALDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(target.WALDir, "precious"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(context.Background(), path, target, RestoreOptions{}); !errors.Is(err, ErrNotEmpty) || !exists(t, filepath.Join(target.WALDir, "precious")) {
		t.Errorf("used: %v", err)
	}
	if exists(t, filepath.Join(target.DataDir, identity.PartialName)) {
		t.Error("something was left")
	}
	target.WALDir = filepath.Join(target.DataDir, "log")
	if _, err := Restore(context.Background(), path, target, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "must not contain each other") {
		t.Errorf("inside: %v", err)
	}
}

// A member that was recovered may have its new log elsewhere, too.
func TestRecoverLogElsewhere(t *testing.T) {
	r := Recovery{DataDir: usedDir(t), WALDir: filepath.Join(t.TempDir(), "log")}
	done, err := r.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := check(t, r.DataDir)
	if id.WALDir != r.WALDir || !wal.Exists(r.WALDir) || !wal.Exists(filepath.Join(done.Kept, "wal")) {
		t.Errorf("%+v", id)
	}
	if exists(t, filepath.Join(r.DataDir, "member", claimName)) {
		t.Error("the claim is still there")
	}
}
