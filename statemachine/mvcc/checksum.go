package mvcc

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// castagnoliBits is the polynomial of that checksum, as crc32 orders bits: the
// highest bit is the coefficient of x^0.
const castagnoliBits = crc32.Castagnoli

// joiner computes the checksum of texts put together from those of the parts,
// so that parts can be read in any order. A checksum is the text as a polynomial
// modulo that of Castagnoli, so a part contributes its own checksum, and what
// stands before it is multiplied by x for every bit of the part.
type joiner struct {
	// powers[k] is x^(2^k).
	powers [64]uint32
	// shift is x^(8*length), remembered since texts are often equally long.
	length uint64
	shift  uint32
}

func newJoiner() *joiner {
	const one, x = 1 << 31, 1 << 30
	j := &joiner{shift: one}
	j.powers[0] = x
	for k := 1; k < len(j.powers); k++ {
		j.powers[k] = multiply(j.powers[k-1], j.powers[k-1])
	}
	return j
}

// join returns the checksum of a text with checksum before and behind it one of
// length bytes with checksum part.
func (j *joiner) join(before, part uint32, length uint64) uint32 {
	if length != j.length {
		j.length, j.shift = length, 1<<31
		for k, bits := 0, 8*length; bits > 0; k, bits = k+1, bits>>1 {
			if bits&1 == 1 {
				j.shift = multiply(j.powers[k], j.shift)
			}
		}
	}
	return multiply(j.shift, before) ^ part
}

// multiply multiplies polynomials modulo that of Castagnoli.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 == 1 {
			product ^= b
		}
		if b&1 == 1 {
			b = b>>1 ^ castagnoliBits
		} else {
			b >>= 1
		}
	}
	return product
}
