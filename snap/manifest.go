package snap

import (
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	manifestFormat = 1
	// manifestBytesMax bounds what a receiver reads before it has verified
	// anything; about a million files.
	manifestBytesMax = 64 << 20
	nameBytesMax     = 1024
	copyBytes        = 256 << 10
)

const (
	fieldManifestFormat = 1
	fieldManifestIndex  = 2
	fieldManifestTerm   = 3
	fieldManifestFile   = 4

	fieldFileName     = 1
	fieldFileSize     = 2
	fieldFileChecksum = 3
)

// file is one file of a snapshot.
type file struct {
	name      string // relative, elements separated by slashes
	sizeBytes int64
	checksum  uint32 // CRC-32C of the content
}

// manifest lists the files of a snapshot, sorted by name.
type manifest struct {
	index, term uint64
	files       []file
}

func (m *manifest) encode() []byte {
	var b, one []byte
	b = protowire.AppendTag(b, fieldManifestFormat, protowire.VarintType)
	b = protowire.AppendVarint(b, manifestFormat)
	b = protowire.AppendTag(b, fieldManifestIndex, protowire.VarintType)
	b = protowire.AppendVarint(b, m.index)
	b = protowire.AppendTag(b, fieldManifestTerm, protowire.VarintType)
	b = protowire.AppendVarint(b, m.term)
	for _, f := range m.files {
		one = protowire.AppendTag(one[:0], fieldFileName, protowire.BytesType)
		one = protowire.AppendString(one, f.name)
		one = protowire.AppendTag(one, fieldFileSize, protowire.VarintType)
		one = protowire.AppendVarint(one, uint64(f.sizeBytes))
		one = protowire.AppendTag(one, fieldFileChecksum, protowire.VarintType)
		one = protowire.AppendVarint(one, uint64(f.checksum))
		b = protowire.AppendTag(b, fieldManifestFile, protowire.BytesType)
		b = protowire.AppendBytes(b, one)
	}
	return b
}

// decodeManifest parses and checks a manifest.
func decodeManifest(data []byte) (manifest, error) {
	var m manifest
	format := uint64(0)
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldManifestFormat:
			format = v
		case fieldManifestIndex:
			m.index = v
		case fieldManifestTerm:
			m.term = v
		case fieldManifestFile:
			f, err := decodeFile(b)
			m.files = append(m.files, f)
			return err
		}
		return nil
	})
	if err == nil && format != manifestFormat {
		err = fmt.Errorf("%w: format %d, this binary knows %d only", ErrCorrupt, format, manifestFormat)
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return manifest{}, fmt.Errorf("decode snapshot manifest: %w", err)
	}
	return m, nil
}

func decodeFile(data []byte) (file, error) {
	var f file
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldFileName:
			f.name = string(b)
		case fieldFileSize:
			f.sizeBytes = int64(v)
		case fieldFileChecksum:
			f.checksum = uint32(v)
		}
		return nil
	})
	return f, err
}

// check refuses what would write outside a directory, or write twice.
func (m *manifest) check() error {
	total := int64(0)
	for i, f := range m.files {
		if err := checkName(f.name); err != nil {
			return err
		}
		if f.sizeBytes < 0 || total+f.sizeBytes < total {
			return fmt.Errorf("%w: file %q has an impossible size", ErrCorrupt, f.name)
		}
		total += f.sizeBytes
		if i > 0 && m.files[i-1].name >= f.name {
			return fmt.Errorf("%w: file %q is out of order or listed twice", ErrCorrupt, f.name)
		}
	}
	return nil
}

// checkName accepts plain relative paths only: no way up, no root, nothing that
// an operating system could read in another way.
func checkName(name string) error {
	bad := name == "" || len(name) > nameBytesMax || strings.ContainsAny(name, "\\:\x00")
	for element := range strings.SplitSeq(name, "/") {
		bad = bad || element == "" || element == "." || element == ".."
	}
	if bad {
		return fmt.Errorf("%w: file name %.80q is not allowed", ErrCorrupt, name)
	}
	return nil
}

// sums remembers the checksums of files that never change under their names,
// so that the next checkpoint need not read them again. It belongs to one live
// database. Not safe for concurrent use: checkpoints are made one at a time.
type sums struct {
	immutable func(name string) bool
	known     map[string]file
}

func newSums(immutable func(string) bool) *sums {
	return &sums{immutable: immutable, known: make(map[string]file)}
}

// of returns the file's description, read from path unless it is known.
func (k *sums) of(fs vfs.FS, name, path string, sizeBytes int64, buf []byte) (f file, err error) {
	if f, ok := k.known[name]; ok && f.sizeBytes == sizeBytes {
		return f, nil
	}
	f.name = name
	f.sizeBytes, f.checksum, err = checksumFile(fs, path, buf)
	return f, err
}

// keep forgets all but the immutable ones of files.
func (k *sums) keep(files []file) {
	clear(k.known)
	for _, f := range files {
		if k.immutable(f.name) {
			k.known[f.name] = f
		}
	}
}

// describeFiles lists the files below dir with their checksums.
func describeFiles(fs vfs.FS, dir string, known *sums) ([]file, error) {
	var files []file
	buf := make([]byte, copyBytes)
	var walk func(prefix string) error
	walk = func(prefix string) error {
		names, err := fs.List(fs.PathJoin(dir, prefix))
		if err != nil {
			return fmt.Errorf("list %s: %w", fs.PathJoin(dir, prefix), err)
		}
		for _, base := range names {
			name := base
			if prefix != "" {
				name = prefix + "/" + base
			}
			path := fs.PathJoin(dir, name)
			info, err := fs.Stat(path)
			if err != nil {
				return fmt.Errorf("describe snapshot file: %w", err)
			}
			if info.IsDir() {
				if err := walk(name); err != nil {
					return err
				}
				continue
			}
			f, err := known.of(fs, name, path, info.Size(), buf)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		return nil
	}
	if err := walk(""); err != nil {
		return nil, err
	}
	known.keep(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

func checksumFile(fs vfs.FS, path string, buf []byte) (sizeBytes int64, checksum uint32, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, 0, fmt.Errorf("checksum snapshot file: %w", err)
	}
	for {
		n, err := f.Read(buf)
		sizeBytes += int64(n)
		checksum = crc32.Update(checksum, crc32.MakeTable(crc32.Castagnoli), buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			f.Close()
			return 0, 0, fmt.Errorf("checksum %s: %w", path, err)
		}
	}
	if err := f.Close(); err != nil {
		return 0, 0, fmt.Errorf("close %s: %w", path, err)
	}
	return sizeBytes, checksum, nil
}
