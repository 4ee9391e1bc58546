package snap

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// A snapshot file, the one that operators keep, is
//
//	8 bytes   "rkvsave" and the format version
//	4 bytes   length of the header, big-endian
//	n bytes   the header: what the snapshot is of, and the names and sizes of its files
//	...       the files' contents in the header's order, nothing between
//	4 bytes   for each file: CRC-32C of its content, big-endian
//	...       zeros up to a multiple of 512 bytes
//	32 bytes  SHA-256 of everything before
//
// Its length follows from the header, so that progress can be told from the
// first byte on, and it is read and written in one pass. The trailer is where
// etcd's tools look for one: behind a multiple of 512 bytes.
const (
	savedMagic       = "rkvsave\x01"
	savedPrefixBytes = len(savedMagic) + 4
	savedBlockBytes  = 512
	crcBytes         = 4
	// savedHeaderBytesMax bounds what is read before anything is verified.
	savedHeaderBytesMax = manifestBytesMax
	// savedBytesMax keeps sums of sizes far from overflowing.
	savedBytesMax = 1 << 60
)

// ErrForeignFile means that a file is no snapshot file of raft-kv at all.
var ErrForeignFile = errors.New("not a snapshot file of raft-kv")

// SavedHeader is what a snapshot file says of itself.
type SavedHeader struct {
	// ClusterID and MemberID tell where it was taken.
	ClusterID, MemberID uint64
	// Index and Term are the position in the log that the state stands for.
	Index, Term uint64
	// Revision and CompactedRevision are those of the key space.
	Revision, CompactedRevision int64
	// RollingHash is the hash of all effects up to Index.
	RollingHash uint64
	// Version is that of the program that wrote the file.
	Version string

	files []file
}

const (
	fieldSavedCluster   = 1
	fieldSavedMember    = 2
	fieldSavedIndex     = 3
	fieldSavedTerm      = 4
	fieldSavedRevision  = 5
	fieldSavedCompacted = 6
	fieldSavedHash      = 7
	fieldSavedVersion   = 8
	fieldSavedFile      = 9
)

func (h *SavedHeader) encode() []byte {
	var b, one []byte
	for _, f := range []struct {
		number protowire.Number
		value  uint64
	}{
		{fieldSavedCluster, h.ClusterID}, {fieldSavedMember, h.MemberID}, {fieldSavedIndex, h.Index}, {fieldSavedTerm, h.Term},
		{fieldSavedRevision, uint64(h.Revision)}, {fieldSavedCompacted, protowire.EncodeZigZag(h.CompactedRevision)},
		{fieldSavedHash, h.RollingHash},
	} {
		b = protowire.AppendTag(b, f.number, protowire.VarintType)
		b = protowire.AppendVarint(b, f.value)
	}
	b = protowire.AppendTag(b, fieldSavedVersion, protowire.BytesType)
	b = protowire.AppendString(b, h.Version)
	for _, f := range h.files {
		one = protowire.AppendTag(one[:0], fieldFileName, protowire.BytesType)
		one = protowire.AppendString(one, f.name)
		one = protowire.AppendTag(one, fieldFileSize, protowire.VarintType)
		one = protowire.AppendVarint(one, uint64(f.sizeBytes))
		b = protowire.AppendTag(b, fieldSavedFile, protowire.BytesType)
		b = protowire.AppendBytes(b, one)
	}
	return b
}

// decodeSavedHeader parses and checks a header.
func decodeSavedHeader(data []byte) (SavedHeader, error) {
	var h SavedHeader
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldSavedCluster:
			h.ClusterID = v
		case fieldSavedMember:
			h.MemberID = v
		case fieldSavedIndex:
			h.Index = v
		case fieldSavedTerm:
			h.Term = v
		case fieldSavedRevision:
			h.Revision = int64(v)
		case fieldSavedCompacted:
			h.CompactedRevision = protowire.DecodeZigZag(v)
		case fieldSavedHash:
			h.RollingHash = v
		case fieldSavedVersion:
			h.Version = string(b)
		case fieldSavedFile:
			f, err := decodeFile(b)
			h.files = append(h.files, f)
			return err
		}
		return nil
	})
	if err == nil {
		files := manifest{files: h.files}
		err = files.check()
	}
	switch {
	case err != nil:
	case h.ClusterID == 0 || h.Index == 0 || h.Term == 0 || h.Revision < 1 || len(h.files) == 0:
		err = fmt.Errorf("%w: it is incomplete", ErrCorrupt)
	case h.layout(len(data)).checksums > savedBytesMax:
		err = fmt.Errorf("%w: files of impossible sizes", ErrCorrupt)
	}
	if err != nil {
		return SavedHeader{}, fmt.Errorf("header of the snapshot file: %w", err)
	}
	return h, nil
}

// layout tells where what lies in a file whose header takes headerBytes.
type layout struct {
	contents, checksums, trailer, end int64
}

func (h *SavedHeader) layout(headerBytes int) layout {
	l := layout{contents: int64(savedPrefixBytes) + int64(headerBytes)}
	l.checksums = l.contents
	for _, f := range h.files {
		l.checksums += f.sizeBytes
	}
	end := l.checksums + crcBytes*int64(len(h.files))
	l.trailer = (end + savedBlockBytes - 1) / savedBlockBytes * savedBlockBytes
	l.end = l.trailer + sha256.Size
	return l
}

// head is everything before the contents.
func (h *SavedHeader) head() []byte {
	encoded := h.encode()
	b := make([]byte, 0, savedPrefixBytes+len(encoded))
	b = binary.BigEndian.AppendUint32(append(b, savedMagic...), uint32(len(encoded)))
	return append(b, encoded...)
}

// readSavedHeader reads a file up to its contents.
func readSavedHeader(r io.Reader) (SavedHeader, layout, error) {
	prefix := make([]byte, savedPrefixBytes)
	if n, err := io.ReadFull(r, prefix); err == io.EOF || err == io.ErrUnexpectedEOF {
		return SavedHeader{}, layout{}, fmt.Errorf("%w: it has %d bytes only", ErrForeignFile, n)
	} else if err != nil {
		return SavedHeader{}, layout{}, fmt.Errorf("read the snapshot file: %w", err)
	}
	magic, version := string(prefix[:len(savedMagic)-1]), prefix[len(savedMagic)-1]
	switch {
	case magic != savedMagic[:len(savedMagic)-1]:
		return SavedHeader{}, layout{}, fmt.Errorf("%w: it begins with %q", ErrForeignFile, magic)
	case version != savedMagic[len(savedMagic)-1]:
		return SavedHeader{}, layout{}, fmt.Errorf("the snapshot file has format %d, this binary knows %d only; use the binary that wrote it",
			version, savedMagic[len(savedMagic)-1])
	}
	length := binary.BigEndian.Uint32(prefix[len(savedMagic):])
	if length > savedHeaderBytesMax {
		return SavedHeader{}, layout{}, fmt.Errorf("%w: a header of %d bytes", ErrCorrupt, length)
	}
	// The length is not verified yet: memory follows what is there.
	encoded, err := io.ReadAll(io.LimitReader(r, int64(length)))
	switch {
	case err != nil:
		return SavedHeader{}, layout{}, fmt.Errorf("read the header of the snapshot file: %w", err)
	case len(encoded) < int(length):
		return SavedHeader{}, layout{}, fmt.Errorf("%w: it ends inside its header", ErrCorrupt)
	}
	h, err := decodeSavedHeader(encoded)
	return h, h.layout(len(encoded)), err
}
