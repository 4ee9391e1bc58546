package statemachine

import (
	"slices"
	"testing"
)

func TestFrameRevisions(t *testing.T) {
	var r writeResults
	r.put(5)
	r.put(6)
	r.add(&writeResult{revision: 7, length: 3})
	r.add(&writeResult{revision: 7, refusal: 5})
	r.put(8)
	r.flush()
	got, err := (&FrameResult{Writes: r.buf}).Revisions()
	if want := []int64{5, 6, 7, 0, 8}; err != nil || !slices.Equal(got, want) {
		t.Errorf("revisions %v, %v, want %v", got, err, want)
	}
	for _, cut := range []int{1, 2, len(r.buf) - 1} {
		if _, err := (&FrameResult{Writes: r.buf[:cut]}).Revisions(); err == nil {
			t.Errorf("%d of %d bytes are taken for all", cut, len(r.buf))
		}
	}
}

func FuzzFrameRevisions(f *testing.F) {
	f.Add([]byte("\x0a\x04\x08\x02\x10\x05"))
	f.Add([]byte("\x0a\x02\x18\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := (&FrameResult{Writes: data}).Revisions()
		if err != nil && len(all) > 0 {
			t.Errorf("%v and %d revisions", err, len(all))
		}
	})
}
