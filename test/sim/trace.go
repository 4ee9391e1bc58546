package sim

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"time"
)

// trace is a rolling hash of everything that happened and when. Two runs of one
// seed have the same.
type trace struct {
	hash hash.Hash64
	out  io.Writer // nil: only the hash is kept
	buf  []byte
}

func newTrace(out io.Writer) *trace { return &trace{hash: fnv.New64a(), out: out} }

// note adds one step: what happened, to whom, and the numbers that describe it.
func (t *trace) note(now time.Duration, what string, numbers ...uint64) {
	t.buf = append(t.buf[:0], what...)
	t.buf = binary.BigEndian.AppendUint64(t.buf, uint64(now))
	for _, n := range numbers {
		t.buf = binary.BigEndian.AppendUint64(t.buf, n)
	}
	t.hash.Write(t.buf) // a hash never fails
	if t.out != nil {
		fmt.Fprintf(t.out, "%12s %-14s %x\n", now, what, numbers)
	}
}

func (t *trace) sum() uint64 { return t.hash.Sum64() }
