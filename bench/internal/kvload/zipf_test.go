package kvload

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestZipfDrawsByRank(t *testing.T) {
	const n, draws = 1000, 200_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	z := newZipf(n)
	counts := make([]int, n)
	for range draws {
		counts[z.rank(rng)]++
	}
	// The first two ranks are drawn exactly, the others by an approximation.
	for rank, want := range []float64{1 / z.zetaN, math.Pow(2, -zipfExponent) / z.zetaN} {
		got := float64(counts[rank]) / draws
		if math.Abs(got-want) > 0.1*want {
			t.Errorf("rank %d was drawn with frequency %.4f, want %.4f", rank, got, want)
		}
	}
	tail := 0
	for _, c := range counts[n/2:] {
		tail += c
	}
	if share := float64(tail) / draws; share < 0.04 || share > 0.16 {
		t.Errorf("the less popular half has a share of %.3f, want about 0.09", share)
	}
}

func TestZipfSpreadsOneToOne(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 99_991} {
		z := newZipf(n)
		seen := make([]bool, n)
		for rank := range n {
			key := z.spread(rank)
			if seen[key] {
				t.Fatalf("of %d keys, %d is used twice", n, key)
			}
			seen[key] = true
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			if r := z.rank(rng); r < 0 || r >= n {
				t.Fatalf("rank %d of %d", r, n)
			}
		}
	}
}
