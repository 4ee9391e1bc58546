package statemachine

import (
	"encoding/binary"
	"fmt"
)

// proposerWindow is how many batches of a proposer are told apart behind its
// newest one. A batch further behind is taken for a duplicate, so a proposer
// must not have more batches under way.
const proposerWindow = 1024

// proposer remembers which batches of one member were applied.
type proposer struct {
	boot uint64
	// newest is the highest batch of that boot. Bit i of seen says that batch
	// newest-i was applied.
	newest uint64
	seen   [proposerWindow / 64]uint64
}

// admit tells whether a batch is to be applied, and remembers it.
func (p *proposer) admit(boot, batch uint64) bool {
	switch {
	case boot < p.boot:
		return false
	case boot > p.boot || p.newest == 0:
		*p = proposer{boot: boot, newest: batch}
	case batch > p.newest:
		p.shift(batch - p.newest)
		p.newest = batch
	}
	behind := p.newest - batch
	if behind >= proposerWindow {
		return false
	}
	word, bit := behind/64, uint64(1)<<(behind%64)
	if p.seen[word]&bit != 0 {
		return false
	}
	p.seen[word] |= bit
	return true
}

// shift moves the window up by n batches.
func (p *proposer) shift(n uint64) {
	if n >= proposerWindow {
		clear(p.seen[:])
		return
	}
	words, bits := int(n/64), n%64
	for i := len(p.seen) - 1; i >= 0; i-- {
		var v uint64
		if from := i - words; from >= 0 {
			v = p.seen[from] << bits
			if from > 0 && bits > 0 {
				v |= p.seen[from-1] >> (64 - bits)
			}
		}
		p.seen[i] = v
	}
}

const proposerLen = 8 + 8 + proposerWindow/8

func (p *proposer) encode() []byte {
	b := make([]byte, 0, proposerLen)
	b = binary.BigEndian.AppendUint64(b, p.boot)
	b = binary.BigEndian.AppendUint64(b, p.newest)
	for _, word := range p.seen {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

func decodeProposer(id uint64, b []byte) (*proposer, error) {
	if len(b) != proposerLen {
		return nil, fmt.Errorf("%w: record of proposer %x has %d bytes", ErrForeignState, id, len(b))
	}
	p := &proposer{boot: binary.BigEndian.Uint64(b), newest: binary.BigEndian.Uint64(b[8:])}
	for i := range p.seen {
		p.seen[i] = binary.BigEndian.Uint64(b[16+8*i:])
	}
	return p, nil
}
