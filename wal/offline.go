package wal

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/raft/v3/raftpb"
)

// Read visits every record of the log in dir, oldest first, without opening it:
// it takes no lock and changes nothing. Of a log that a process is writing, the
// last records may be missing.
func Read(dir string, visit func(Record) error) error {
	f, err := unlocked(dir)
	if err != nil {
		return err
	}
	return f.Replay(visit)
}

func unlocked(dir string) (*files, error) {
	found, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("wal: %s: %w: it holds no log", dir, os.ErrNotExist)
	}
	return &files{dir: dir, found: found, holders: map[entryID]int{}}, nil
}

// ReadMetadata returns whose log is in dir.
func ReadMetadata(dir string) (m Metadata, err error) {
	enough := errors.New("enough")
	err = Read(dir, func(r Record) error {
		if r.Metadata == nil {
			return nil
		}
		if m, err = decodeMetadata(r.Metadata); err != nil {
			return fmt.Errorf("%w: %w", ErrForeign, err)
		}
		return enough
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return m, err
}

// Examined is what Open would find.
type Examined struct {
	State *raftpb.HardState
	// Entries are those behind the state machine and, as far as they are in the
	// log, before it; in order.
	Entries  []*raftpb.Entry
	Segments int
	// Torn is what was written last and not completely; empty: nothing. Open
	// cuts it off.
	Torn string
	// Restart: the state machine installed a snapshot and the log has not
	// followed; Open begins it anew.
	Restart bool
}

// Examine reads the log in opts.Dir as Open would for a state machine at state,
// and reports what Open would refuse. It takes no lock and changes nothing.
func Examine(opts Options, state *raftpb.SnapshotMetadata) (*Examined, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	f, err := unlocked(opts.Dir)
	if err != nil {
		return nil, err
	}
	r := newReplay(opts.Metadata, state)
	if err := f.Replay(r.visit); err != nil {
		return nil, err
	}
	rec, err := r.finish()
	if err != nil {
		var rule *ruleError
		if errors.As(err, &rule) {
			err = &DamageError{File: opts.Dir, Reason: err}
		}
		return nil, err
	}
	if err := f.checkStart(idOf(rec.start)); err != nil {
		return nil, err
	}
	e := &Examined{State: rec.state, Segments: len(f.found), Restart: rec.restart}
	if f.unfinished != "" {
		e.Torn = fmt.Sprintf("segment %s was begun and holds nothing that was acknowledged", f.unfinished)
	}
	if f.tail.torn {
		e.Torn = fmt.Sprintf("%s at offset %d", f.tail.reason, f.tail.end)
	}
	first, last := rec.tail.first(), rec.tail.last()
	if first <= last {
		if e.Entries, err = rec.tail.slice(first, last+1, 1<<63); err != nil {
			return nil, err
		}
	}
	return e, nil
}
