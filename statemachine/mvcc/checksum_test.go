package mvcc

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestJoinedChecksums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	j := newJoiner()
	var text []byte
	var sum uint32
	for range 200 {
		part := make([]byte, r.IntN(3)*r.IntN(1000))
		for i := range part {
			part[i] = byte(r.Uint32())
		}
		text = append(text, part...)
		sum = j.join(sum, crc32.Checksum(part, castagnoli), uint64(len(part)))
		if want := crc32.Checksum(text, castagnoli); sum != want {
			t.Fatalf("of %d bytes: %08x, not %08x", len(text), sum, want)
		}
	}
	long := bytes.Repeat([]byte{7}, 5<<20)
	if got, want := j.join(sum, crc32.Checksum(long, castagnoli), uint64(len(long))), crc32.Checksum(append(text, long...), castagnoli); got != want {
		t.Errorf("with a long part: %08x, not %08x", got, want)
	}
}
