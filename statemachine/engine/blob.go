package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// blobFS opens blob files with a look at them first: Pebble v2.1 panics where it
// finds one damaged or gone. broken is told of such a file.
type blobFS struct {
	vfs.FS
	broken func(error)
}

// Open opens a file for reading.
func (fs blobFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if !strings.HasSuffix(name, suffixBlob) {
		return f, err
	}
	if err == nil {
		var r *blob.FileReader
		if r, err = openBlob(context.Background(), unclosed{f}); err == nil {
			err = r.Close()
		}
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		// Its text alone, for Pebble not to take it for an error of its own.
		err = fmt.Errorf("opening %s: %s", name, err.Error())
		fs.broken(err)
		return nil, err
	}
	return f, nil
}

// Unwrap returns the file system below.
func (fs blobFS) Unwrap() vfs.FS { return fs.FS }

// unclosed is a file that somebody else closes.
type unclosed struct{ vfs.File }

func (unclosed) Close() error { return nil }

// openBlob reads the end of a blob file and verifies its checksum. The reader
// closes f, unless there is an error.
func openBlob(ctx context.Context, f vfs.File) (*blob.FileReader, error) {
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, err
	}
	return blob.NewFileReader(ctx, readable, blob.FileReaderOptions{})
}

// checkBlob verifies the checksum of every block of a blob file.
func checkBlob(ctx context.Context, f vfs.File) error {
	r, err := openBlob(ctx, f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(checkBlocks(ctx, r), r.Close())
}

// The index of a blob file is a columnar block behind a header of four bytes;
// its second column has where each block begins, and the last one ends.
const (
	blobIndexHeader  = 4
	blobIndexOffsets = 1
)

func checkBlocks(ctx context.Context, r *blob.FileReader) error {
	index, err := r.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	var decoder colblk.BlockDecoder
	decoder.Init(index.BlockData(), blobIndexHeader)
	rows := decoder.Rows()
	offsets := colblk.DecodeColumn(&decoder, blobIndexOffsets, rows+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range rows {
		begin, end := offsets.At(i), offsets.At(i+1)
		values, err := r.ReadValueBlock(ctx, block.NoReadEnv, nil, block.Handle{Offset: begin, Length: end - begin - block.TrailerLen})
		if err != nil {
			return err
		}
		values.Release()
	}
	return nil
}

// brokenBlob is told of a blob file that cannot be opened: damage like that of a
// table, of which Pebble tells through its logger.
func (s *Store) brokenBlob(h *Handle, err error) {
	s.backgroundError(h, err)
}

// Damaged is told of an error of a read. Pebble tells of damaged tables itself,
// but not of damaged values apart from them.
func (s *Store) Damaged(h *Handle, err error) {
	if pebble.IsCorruptionError(err) {
		s.backgroundError(h, err)
	}
}
