package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"raftkv/server/identity"
)

// SaveFile puts a snapshot into a file: write gets a new file beside it, which
// is made durable, verified and only then given the name. After an error the
// name is what it was before.
func SaveFile(ctx context.Context, path string, write func(io.Writer) error) (err error) {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := Verify(ctx, part, nil); err != nil {
		return fmt.Errorf("what was received cannot be used: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return identity.SyncDir(filepath.Dir(path))
}

// Verify reads a snapshot file and checks it against its checksums, without
// looking into it. Of a snapshot of etcd, that is the trailer.
func Verify(ctx context.Context, path string, progress func(bytes int64)) error {
	saved, err := openSaved(ctx, path, progress)
	switch {
	case errors.Is(err, ErrEtcdFile):
		return checkTrailer(path)
	case err != nil:
		return err
	}
	return saved.Close()
}

// ErrTrailer means that a snapshot does not match the SHA-256 at its end.
var ErrTrailer = errors.New("it does not match the SHA-256 at its end: it is damaged or was cut short")

// checkTrailer verifies the SHA-256 that etcd puts behind a snapshot.
func checkTrailer(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	data := info.Size() - sha256.Size
	if data < 0 || data%512 != 0 {
		return fmt.Errorf("%s: no SHA-256 at its end (%d bytes)", path, info.Size())
	}
	digest, want := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.Copy(digest, io.LimitReader(f, data)); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if _, err := io.ReadFull(f, want); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if !bytes.Equal(digest.Sum(nil), want) {
		return fmt.Errorf("%s: %w", path, ErrTrailer)
	}
	return nil
}
