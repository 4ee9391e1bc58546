package identity

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

// ErrBootstrapped is returned for an incarnation other than the one that this
// member met first under the id.
var ErrBootstrapped = errors.New("has already been bootstrapped")

// Ledger remembers the first incarnation met under each member id.
type Ledger struct {
	mu struct {
		sync.Mutex
		known map[uint64]uint64
	}
	save func(map[uint64]uint64) error
}

type ledgerFile struct {
	Format int               `json:"format"`
	Known  map[uint64]uint64 `json:"incarnations"`
}

// OpenLedger reads the ledger of a data directory.
func (d *Dir) OpenLedger() (*Ledger, error) {
	file := ledgerFile{Format: Format}
	if _, err := readFile(d.ledger(), &file); err != nil {
		return nil, err
	}
	if file.Format != Format {
		return nil, fmt.Errorf("%s has format %d, this binary knows %d only; use the binary that wrote it", d.ledger(), file.Format, Format)
	}
	return NewLedger(file.Known, func(known map[uint64]uint64) error {
		return writeFile(d.ledger(), ledgerFile{Format: Format, Known: known})
	}), nil
}

// NewLedger makes a ledger from what is known; save makes a new state durable
// before it returns.
func NewLedger(known map[uint64]uint64, save func(map[uint64]uint64) error) *Ledger {
	l := &Ledger{save: save}
	l.mu.known = maps.Clone(known)
	if l.mu.known == nil {
		l.mu.known = make(map[uint64]uint64)
	}
	return l
}

// Meet records the incarnation of a member met for the first time, durably,
// and refuses one that differs from the first.
func (l *Ledger) Meet(member, incarnation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, met := l.mu.known[member]
	switch {
	case met && first == incarnation:
		return nil
	case met:
		return fmt.Errorf("member %x %w; remove it and add it again with an empty data directory", member, ErrBootstrapped)
	}
	next := maps.Clone(l.mu.known)
	next[member] = incarnation
	if err := l.save(next); err != nil {
		return fmt.Errorf("remember member %x: %w", member, err)
	}
	l.mu.known = next
	return nil
}

// ConfirmationsNeeded is how many of the other members must confirm a new
// directory in a cluster of the given number of voters. Any two sets of that
// many others share one; a member's own word does not count, because a member
// that lost its directory would give it again.
func ConfirmationsNeeded(voters int) int {
	if voters <= 1 {
		return 0
	}
	return (voters-1)/2 + 1
}
