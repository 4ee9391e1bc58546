package wal

import (
	"encoding/binary"
	"hash/crc32"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
)

// stateBytesMax is more than the frame of a hard state takes: three fields of at
// most 11 bytes, the fields of the record, the length.
const stateBytesMax = 64

// syncedBehind says whether records behind offset `from` of the last segment
// prove that what is before `from` was synced once. A broken record with such a
// proof behind it was not torn but damaged: cutting it off would lose what was
// acknowledged, as would etcd's wal.Repair, which cuts wherever the length or a
// sector of zeros lets it.
//
// The proof is in how Log writes. A write that syncs is one of
//
//	entries, hard state  |  hard state with a new term or vote  |  snapshot record
//
// and ends with its last record; only a hard state with a new commit index is
// not synced. So as soon as anything is behind the end of such a write, that
// write was synced, and so was everything before it.
//
// What a torn write leaves may itself consist of whole records behind missing
// sectors, but then nothing is behind their end. Records are believed only
// where two consecutive ones are linked by their checksums, since anything may
// look like one record in the middle of a value.
//
// large says that the broken record is too large for a hard state, so that it
// belongs to a write that syncs.
func syncedBehind(file []byte, from int, large bool) bool {
	off := (from + lengthBytes - 1) &^ (lengthBytes - 1)
	for off+lengthBytes <= len(file) {
		f, ok := looseFrame(file, off)
		if !ok {
			off += lengthBytes
			continue
		}
		w := writes{entries: large}
		w.add(f)
		for {
			next, ok := looseFrame(file, f.end)
			if !ok || crc32.Update(f.crc, castagnoli, next.data) != next.crc {
				break
			}
			if w.ended {
				return true
			}
			f = next
			w.add(f)
		}
		off = f.end
	}
	return false
}

// looseFrame reads a frame whose predecessor is unknown, so that its checksum
// cannot be checked.
func looseFrame(file []byte, off int) (frame, bool) {
	if off+lengthBytes > len(file) {
		return frame{}, false
	}
	size, padding, ok := frameSize(binary.LittleEndian.Uint64(file[off:]))
	begin := uint64(off) + lengthBytes
	if !ok || size == 0 || begin+size+padding > uint64(len(file)) {
		return frame{}, false
	}
	f, n := parseRecord(file[begin : begin+size])
	if n != int(size) {
		return frame{}, false
	}
	f.end = int(begin + size + padding)
	_, err := decodeRecord(f)
	return f, err == nil
}

// writes follows consecutive records and notices the end of a synced write.
type writes struct {
	entries bool
	known   bool
	term    uint64
	vote    uint64
	ended   bool
}

func (w *writes) add(f frame) {
	record, err := decodeRecord(f)
	if err != nil {
		return
	}
	switch {
	case record.Entry != nil:
		w.entries = true
	case record.State != nil:
		term, vote := record.State.GetTerm(), record.State.GetVote()
		w.ended = w.ended || w.entries || w.known && (term != w.term || vote != w.vote)
		w.known, w.term, w.vote = true, term, vote
	case f.kind == etcdwal.SnapshotType:
		w.ended = true
	}
}
