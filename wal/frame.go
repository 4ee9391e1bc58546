package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/protobuf/encoding/protowire"
)

// A segment file is a sequence of frames, then zeros up to the size the file
// was allocated with:
//
//	+--------------------+---------------------------+---------+
//	| length, 8 bytes LE | record                    | padding |
//	+--------------------+---------------------------+---------+
//
// Frames begin at multiples of 8. The low 56 bits of the length are the size of
// the record; the top byte is 0 without padding and 0x80 + its size with it. A
// record is a protobuf of type (1), checksum (2) and data (3). The checksum is
// the CRC-32C of the data of all records so far, also over files: every file
// begins with a record of type CRC that repeats it. It covers the data only.
const (
	lengthBytes = 8
	// sectorBytes is what a disk writes entirely or not at all. Files are zero
	// before they are written, so a torn write leaves sectors of zeros.
	sectorBytes = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a record as it lies in a file.
type frame struct {
	kind int64
	crc  uint32
	data []byte // nil when the record has none; points into the file's bytes
	end  int    // offset of the next frame
}

// verdict is what a reader makes of the bytes at an offset.
type verdict int

const (
	whole    verdict = iota // a frame
	finished                // the end of what was written
	torn                    // what a torn write may have left
	damaged                 // what no torn write can have left
)

// readFrame reads the frame at off. crc is the checksum of the data before it.
// The string says what is wrong with a torn or damaged one. A torn frame has its
// end where its length is credible.
func readFrame(file []byte, off int, crc uint32) (frame, verdict, string) {
	rest := file[off:]
	switch {
	case len(rest) == 0:
		return frame{}, finished, ""
	case len(rest) < lengthBytes:
		return frame{}, torn, "the file ends inside a length"
	}
	length := binary.LittleEndian.Uint64(rest)
	if length == 0 {
		// A length and what follows it in its sector are written together.
		if (off+lengthBytes)%sectorBytes != 0 && misframed(file, off+lengthBytes, 0, crc) {
			return frame{}, damaged, "the length of a valid record is zero"
		}
		return frame{}, finished, ""
	}
	// Frames are aligned, so a length is never torn: it is right or it is zero.
	size, padding, ok := frameSize(length)
	if !ok {
		return frame{}, damaged, fmt.Sprintf("%#x is not a length", length)
	}
	begin := uint64(off) + lengthBytes
	end := begin + size + padding
	if end > uint64(len(file)) {
		if misframed(file, off+lengthBytes, size, crc) {
			return frame{}, damaged, "the length of a valid record is wrong"
		}
		return frame{}, torn, "the file ends inside a record"
	}
	f, n := parseRecord(file[begin : begin+size])
	f.end = int(end)
	if n == int(size) && f.follows(crc) {
		return f, whole, ""
	}
	if misframed(file, off+lengthBytes, size, crc) {
		return frame{}, damaged, "the length of a valid record is wrong"
	}
	if hasZeroSector(file, int(begin), int(end)) {
		return frame{end: int(end)}, torn, "a sector of a record is missing"
	}
	return frame{}, damaged, "checksum mismatch"
}

// frameSize splits a length. It is false for one that is never written.
func frameSize(length uint64) (size, padding uint64, ok bool) {
	size = length &^ (0xff << 56)
	padding = -size & 7
	top := uint64(0)
	if padding != 0 {
		top = 0x80 | padding
	}
	return size, padding, length>>56 == top
}

// recordFields are the wire types of the fields of a record.
var recordFields = [4]protowire.Type{1: protowire.VarintType, 2: protowire.VarintType, 3: protowire.BytesType}

// parseRecord parses a record at the start of b, which may go on behind it, and
// returns how many bytes it took; 0 if there is none.
func parseRecord(b []byte) (f frame, n int) {
	var seen [4]bool
	for n < len(b) && !seen[3] {
		number, wire, k := protowire.ConsumeTag(b[n:])
		if k < 0 || number > 3 || seen[number] || wire != recordFields[number] {
			break
		}
		var value uint64
		var m int
		if number == 3 {
			f.data, m = protowire.ConsumeBytes(b[n+k:])
		} else {
			value, m = protowire.ConsumeVarint(b[n+k:])
		}
		if m < 0 || value > math.MaxUint32 {
			return frame{}, 0
		}
		switch number {
		case 1:
			f.kind = int64(value)
		case 2:
			f.crc = uint32(value)
		}
		seen[number] = true
		n += k + m
	}
	if !seen[1] || !seen[2] {
		return frame{}, 0
	}
	return f, n
}

// follows says whether the checksum of f is right behind data whose checksum is
// crc. That of a CRC record is checked by whoever knows what is before it.
func (f frame) follows(crc uint32) bool {
	return f.kind == etcdwal.CrcType || crc32.Update(crc, castagnoli, f.data) == f.crc
}

// misframed says whether a valid record lies at off whose size is not what its
// length field says. A damaged length could otherwise pass for a torn write and
// cost everything behind it.
func misframed(file []byte, off int, size uint64, crc uint32) bool {
	f, n := parseRecord(file[off:])
	return n > 0 && uint64(n) != size && len(f.data) > 0 && f.kind != etcdwal.CrcType && f.follows(crc)
}

// hasZeroSector says whether the part of some sector in [begin, end) is zero.
func hasZeroSector(file []byte, begin, end int) bool {
	for begin < end {
		next := min(end, (begin/sectorBytes+1)*sectorBytes)
		if allZero(file[begin:next]) {
			return true
		}
		begin = next
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
