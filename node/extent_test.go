package node

import (
	"math/rand/v2"
	"testing"
)

// extent against a plain list of entries.
func TestExtentCountsWhatLiesBeyondAnIndex(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var e extent
	var appends []end // bytes of each alone
	next, forgotten := uint64(1), uint64(0)
	for range 2000 {
		first := next
		if rng.IntN(5) == 0 {
			first = max(forgotten+1, next-min(next, uint64(rng.IntN(8))))
		}
		for len(appends) > 0 && appends[len(appends)-1].last >= first {
			appends = appends[:len(appends)-1] // counted as a whole
		}
		next = first + 1 + uint64(rng.IntN(4))
		bytes := rng.IntN(100)
		e.append(first, next-1, bytes)
		appends = append(appends, end{next - 1, bytes})
		if rng.IntN(4) == 0 {
			forgotten = max(forgotten, next-min(next, uint64(10+rng.IntN(30))))
			e.forget(forgotten, 200)
		}
		index, want := forgotten+uint64(rng.IntN(int(next-forgotten)+3)), 0
		for _, a := range appends {
			if a.last > index {
				want += a.bytes
			}
		}
		if got := e.beyond(index); got != want {
			t.Fatalf("%d bytes beyond %d, want %d", got, index, want)
		}
	}
	if len(e.ends) > 100 {
		t.Fatalf("%d appends remembered", len(e.ends))
	}
}

// Small appends are not remembered one by one, and count no more than a grain too
// much.
func TestExtentCountsSmallAppendsTogether(t *testing.T) {
	e := extent{grain: 100}
	for i := range uint64(10_000) {
		e.append(i+1, i+1, 1)
	}
	if len(e.ends) > 101 {
		t.Fatalf("%d pieces for 10,000 bytes with a grain of 100", len(e.ends))
	}
	for _, index := range []uint64{0, 1, 99, 100, 5050, 9999, 10_000} {
		if got, exact := e.beyond(index), 10_000-int(index); got < exact || got > exact+100 {
			t.Errorf("%d bytes beyond %d, want about %d", got, index, exact)
		}
	}
}
