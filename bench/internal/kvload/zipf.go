package kvload

import (
	"math"
	"math/rand/v2"
)

// zipfExponent is YCSB's; it is below 1, so math/rand's own generator, which
// takes exponents above 1 only, does not serve.
const zipfExponent = 0.99

// zipf draws numbers below n by the method of Gray and others, "Quickly generating
// billion-record synthetic databases" (1994), section 3.2. It is immutable.
type zipf struct {
	n                 int
	alpha, eta, zetaN float64
	second            float64 // what u*zetaN must not reach for the second number
}

// newZipf takes time in proportion to n.
func newZipf(n int) *zipf {
	zeta := 0.0
	for i := 1; i <= n; i++ {
		zeta += math.Pow(float64(i), -zipfExponent)
	}
	second := 1 + math.Pow(0.5, zipfExponent)
	return &zipf{
		n: n, alpha: 1 / (1 - zipfExponent), zetaN: zeta, second: second,
		eta: (1 - math.Pow(2/float64(n), 1-zipfExponent)) / (1 - second/zeta),
	}
}

// rank draws the rank of a key, 0 being the most popular one.
func (z *zipf) rank(rng *rand.Rand) int {
	u := rng.Float64()
	switch uz := u * z.zetaN; {
	case uz < 1 || z.n == 1:
		return 0
	case uz < z.second || z.n == 2:
		return 1
	}
	return min(z.n-1, int(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// spread maps ranks to keys one to one, so that popular keys are not neighbours:
// the multiplier is a prime, above every number of keys.
func (z *zipf) spread(rank int) int {
	const prime = 2_654_435_761
	return int(uint64(rank) * prime % uint64(z.n))
}
