package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := withFile(path, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, want := range [][]byte{nil, []byte("content"), bytes.Repeat([]byte("x"), 100_000)} {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		err := withFile(path, func(got []byte) error {
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			return os.ErrInvalid
		})
		if !errors.Is(err, os.ErrInvalid) {
			t.Errorf("the error of read: %v", err)
		}
	}
	// Pages that cannot be read are an error, other panics stay panics.
	sum := byte(0)
	err := withFile(path, func(got []byte) error {
		if err := os.Truncate(path, 0); err != nil {
			return err
		}
		for _, b := range got {
			sum += b
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the disk failed") {
		t.Errorf("a file that was cut while it was read: %v (%d)", err, sum)
	}
	defer func() {
		if recover() != "own" {
			t.Error("a panic of read was lost")
		}
	}()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := withFile(path, func([]byte) error { panic("own") }); err != nil {
		t.Error(err)
	}
}
