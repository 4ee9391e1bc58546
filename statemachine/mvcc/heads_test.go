package mvcc

import (
	"fmt"
	"strings"
	"testing"
)

// TestHeadsAreBounded: whatever is written, heads take what they may, keep the
// newest, and never answer with what was not put.
func TestHeadsAreBounded(t *testing.T) {
	const bytesMax = 64 << 10
	var h heads
	h.reset(bytesMax)
	key := func(i int) string { return fmt.Sprintf("%s%08d", strings.Repeat("k", i%100), i) }
	for i := range 20_000 {
		h.put(key(i), &head{createRevision: int64(i), version: 1})
		sum := int64(0)
		if i%500 == 0 {
			for _, generation := range []map[string]*head{h.young, h.old} {
				for k := range generation {
					sum += int64(len(k)) + headBytes
				}
			}
			if sum > bytesMax {
				t.Fatalf("after %d keys: %d bytes, %d allowed", i+1, sum, bytesMax)
			}
		}
		if got := h.get([]byte(key(i))); got == nil || got.createRevision != int64(i) {
			t.Fatalf("key %d: %+v", i, got)
		}
	}
	if h.get([]byte(key(0))) != nil {
		t.Error("the oldest key is still remembered")
	}
	same := &head{version: 2}
	for range 5000 {
		h.put(key(7), same) // takes nothing more
	}
	if got := h.get([]byte(key(19_999))); got == nil || got.createRevision != 19_999 {
		t.Error("a key that is written often has displaced the others")
	}
	h.put(strings.Repeat("x", headKeyBytesMax+1), &head{})
	if h.get([]byte(strings.Repeat("x", headKeyBytesMax+1))) != nil {
		t.Error("a large key is remembered")
	}
	h.reset(0)
	h.put("a", &head{version: 1})
	if h.get([]byte("a")) != nil {
		t.Error("something is remembered without room")
	}
}
