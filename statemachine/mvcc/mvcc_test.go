package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"raftkv/statemachine/keys"
)

func TestValueRoundTrip(t *testing.T) {
	for _, want := range []KeyValue{
		{}, {Value: []byte("v"), CreateRevision: 1, Version: 127, Lease: 128},
		{CreateRevision: 1 << 62, Version: 1 << 40, Lease: -1, Value: make([]byte, 1000)},
	} {
		data := make([]byte, want.encodedLen())
		want.encode(data)
		var got KeyValue
		exists, err := got.decode(data)
		if err != nil || !exists || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("decoded %v, %t, %v; want %v", got, exists, err, want)
		}
	}
	var kv KeyValue
	if exists, err := kv.decode([]byte{tagTombstone}); exists || err != nil {
		t.Errorf("tombstone: %t, %v", exists, err)
	}
}

func FuzzDecodeValue(f *testing.F) {
	f.Add([]byte{tagTombstone})
	f.Add([]byte{tagValue, 1, 2, 3, 'v'})
	f.Add([]byte{tagValue, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var kv KeyValue
		exists, err := kv.decode(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !exists {
			return
		}
		again := make([]byte, kv.encodedLen())
		kv.encode(again)
		var other KeyValue
		if exists, err := other.decode(again); err != nil || !exists || fmt.Sprint(other) != fmt.Sprint(kv) {
			t.Fatalf("decoded %v, then %v, %v", kv, other, err)
		}
	})
}

// TestOverlayOrder: scans interleaved with additions see the keys in order.
func TestOverlayOrder(t *testing.T) {
	const seed = 2
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var o overlay
	for range 20 {
		o.reset()
		var want []string
		for i := range 500 {
			key := []byte(fmt.Sprint(r.IntN(300)))
			n := o.get(key)
			if n == nil {
				want = append(want, string(key))
			}
			o.add(n, key, version{revision: keys.Revision{Main: int64(i)}})
			if r.IntN(20) != 0 {
				continue
			}
			slices.Sort(want)
			start := fmt.Sprint(r.IntN(300))
			from, _ := slices.BinarySearch(want, start)
			var got []string
			for _, n := range o.seek([]byte(start)) {
				got = append(got, n.key)
			}
			if !slices.Equal(got, want[from:]) {
				t.Fatalf("keys from %s: %v, want %v", start, got, want[from:])
			}
		}
		if n := o.get([]byte(want[0])); n.at(1000) != &n.newest || n.at(-1) != nil {
			t.Fatal("wrong version")
		}
	}
}
