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

// ErrOldDirectory is returned for a start of a data directory that is older than
// one met before.
var ErrOldDirectory = errors.New("runs on a data directory that is older than one it has run on before")

// Records is what a Ledger knows, by member id.
type Records struct {
	// Incarnations are the first ones met.
	Incarnations map[uint64]uint64
	// Boots are the highest numbers of starts met.
	Boots map[uint64]uint64
}

func (r Records) clone() Records {
	c := Records{Incarnations: maps.Clone(r.Incarnations), Boots: maps.Clone(r.Boots)}
	if c.Incarnations == nil {
		c.Incarnations = make(map[uint64]uint64)
	}
	if c.Boots == nil {
		c.Boots = make(map[uint64]uint64)
	}
	return c
}

// Ledger remembers of each member id the first incarnation and the latest start
// that were met under it.
type Ledger struct {
	mu struct {
		sync.Mutex
		known Records
	}
	save func(Records) error
}

type ledgerFile struct {
	Format int               `json:"format"`
	Known  map[uint64]uint64 `json:"incarnations"`
	Boots  map[uint64]uint64 `json:"boots,omitempty"`
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
	return NewLedger(Records{file.Known, file.Boots}, func(known Records) error {
		return writeFile(d.ledger(), ledgerFile{Format: Format, Known: known.Incarnations, Boots: known.Boots})
	}), nil
}

// NewLedger makes a ledger from what is known; save makes a new state durable
// before it returns.
func NewLedger(known Records, save func(Records) error) *Ledger {
	l := &Ledger{save: save}
	l.mu.known = known.clone()
	return l
}

// Meet records the incarnation of a member met for the first time, durably,
// and refuses one that differs from the first.
func (l *Ledger) Meet(member, incarnation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, met := l.mu.known.Incarnations[member]
	switch {
	case met && first == incarnation:
		return nil
	case met:
		return fmt.Errorf("member %x %w; remove it and add it again with an empty data directory", member, ErrBootstrapped)
	}
	return l.noteLocked(member, func(r Records) { r.Incarnations[member] = incarnation })
}

// MeetBoot records the number of a start of a member's one data directory, and
// refuses one below the highest: the directory was put back to how it once was,
// and has forgotten votes and acknowledgements. 0 is unknown and passes.
func (l *Ledger) MeetBoot(member, boot uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch highest := l.mu.known.Boots[member]; {
	case boot == 0 || boot == highest:
		return nil
	case boot < highest:
		return fmt.Errorf("member %x %w (start %d, start %d was met); remove it and add it again with an empty data directory",
			member, ErrOldDirectory, boot, highest)
	}
	return l.noteLocked(member, func(r Records) { r.Boots[member] = boot })
}

// Forget drops what is known of a member that was removed: its id never comes
// back.
func (l *Ledger) Forget(member uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, met := l.mu.known.Incarnations[member]
	_, started := l.mu.known.Boots[member]
	if !met && !started {
		return nil
	}
	return l.noteLocked(member, func(r Records) {
		delete(r.Incarnations, member)
		delete(r.Boots, member)
	})
}

// noteLocked changes the records, durably first.
func (l *Ledger) noteLocked(member uint64, change func(Records)) error {
	next := l.mu.known.clone()
	change(next)
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
