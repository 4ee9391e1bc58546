package wal

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// frameWith returns the bytes of a frame with data behind nothing.
func frameWith(t *testing.T, data []byte) []byte {
	t.Helper()
	crc := crc32.Update(0, castagnoli, data)
	record, err := proto.Marshal(&walpb.Record{Type: new(etcdwal.EntryType), Crc: &crc, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	length, padding := uint64(len(record)), -len(record)&7
	if padding != 0 {
		length |= uint64(0x80|padding) << 56
	}
	b := binary.LittleEndian.AppendUint64(nil, length)
	return append(append(b, record...), make([]byte, padding)...)
}

func TestReadFrame(t *testing.T) {
	good := frameWith(t, []byte("some data"))
	large := frameWith(t, make([]byte, 2*sectorBytes))
	length := func(b []byte, v uint64) []byte {
		c := append([]byte{}, b...)
		binary.LittleEndian.PutUint64(c, v)
		return c
	}
	flipped := append([]byte{}, good...)
	flipped[len(flipped)-10] ^= 1
	holed := append([]byte{}, large...)
	holed[len(holed)-20] ^= 1
	for _, c := range []struct {
		name  string
		at    int // where the frame lies
		frame []byte
		want  verdict
	}{
		{"good", 0, good, whole},
		{"large", 0, large, whole},
		{"nothing", 0, nil, finished},
		{"zeros", 0, make([]byte, 64), finished},
		{"half a length", 0, good[:5], torn},
		{"half a record", 0, good[:20], torn},
		{"half the padding", 0, good[:len(good)-1], torn},
		{"flipped", 0, flipped, damaged},
		{"flipped among zeros", 0, holed, torn},
		{"not a length", 0, length(good, 0x01<<56|24), damaged},
		{"a length too long for the file", 0, length(good, 1<<20), damaged},
		{"a length too short", 0, length(good, 8), damaged},
		{"a length of zero", 0, length(good, 0), damaged},
		// The length is in a sector that is missing, the record is not.
		{"a length in another sector", sectorBytes - lengthBytes, length(good, 0), finished},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := append(make([]byte, c.at), c.frame...)
			f, got, reason := readFrame(file, c.at, 0)
			if got != c.want {
				t.Fatalf("verdict %d (%s), want %d", got, reason, c.want)
			}
			if got == whole && f.end != len(file) {
				t.Fatalf("it ends at %d, want %d", f.end, len(file))
			}
			if (got == torn || got == damaged) == (reason == "") {
				t.Fatalf("verdict %d for reason %q", got, reason)
			}
		})
	}
}
