package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"raftkv/snap"
	"raftkv/statemachine"
)

// save is a snapshot file on its way from a member to an operator, who sits at a
// machine without faults.
type save struct {
	p    *process
	file *snap.SavedReader
	got  []byte
}

const (
	saveEvery      = 4 * time.Second // mean time between two
	savePieceTime  = 10 * time.Millisecond
	savePieceBytes = 16 << 10
)

// saveSnapshots is an operator who saves a snapshot now and then, from any member.
func (f *faults) saveSnapshots() {
	f.s.clock.after(time.Duration(f.rng.ExpFloat64()*float64(saveEvery)), func() {
		if f.s.calm {
			return
		}
		if p := f.anyone().process; p != nil && p.core != nil {
			p.now(p.save)
		}
		f.saveSnapshots()
	})
}

func (p *process) save() {
	var file *snap.SavedReader
	err := p.mayDieIn(func() (err error) {
		file, err = p.snaps.Save(context.Background(), p.checkpointToSave, nil)
		return err
	})
	var s *save
	if file != nil {
		s = &save{p: p, file: file}
		p.saves = append(p.saves, s) // closed with the process
	}
	switch {
	case err == nil:
		p.s.trace.note(p.s.clock.now, "save", p.host.id, file.Header().Index)
		p.after(p.some(savePieceTime), s.read)
	case errors.Is(err, snap.ErrTooManySaves), errors.Is(err, statemachine.ErrNotInitialized):
	default:
		if file == nil && errors.As(err, new(died)) {
			p.s.report.SavesBroken++
		}
		p.broke("save", err)
	}
}

// checkpointToSave is what package server hands to Save.
func (p *process) checkpointToSave(dir string) (snap.SavedHeader, error) {
	if _, err := p.state.Checkpoint(dir); err != nil {
		return snap.SavedHeader{}, err
	}
	state, err := p.state.Describe(dir)
	return snap.SavedHeader{
		ClusterID: state.ClusterID, MemberID: p.host.id, Index: state.Index, Term: state.Term,
		Revision: state.Revision, CompactedRevision: state.CompactedRevision, RollingHash: state.RollingHash, Version: "simulated",
	}, err
}

// read takes the next piece. A member that dies leaves the operator with a part.
func (s *save) read() {
	piece := make([]byte, savePieceBytes)
	n, err := io.ReadFull(s.file, piece)
	s.got = append(s.got, piece[:n]...)
	switch {
	case err == nil:
		s.p.after(s.p.some(savePieceTime), s.read)
		return
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		s.p.s.fail("member %d: read a snapshot to save: %v", s.p.host.id, err)
		return
	}
	s.p.forget(s)
	if err := s.file.Close(); err != nil {
		s.p.s.fail("member %d: close a saved snapshot: %v", s.p.host.id, err)
	}
	s.verify()
}

func (p *process) forget(done *save) {
	for i, s := range p.saves {
		if s == done {
			p.saves = append(p.saves[:i:i], p.saves[i+1:]...)
		}
	}
}

// verify reads the file as raft-cli does, and compares what it holds with what
// the members held at its index.
func (s *save) verify() {
	sim := s.p.s
	sim.report.Saves++
	err := sim.examine(s.got, func(h snap.SavedHeader, e *statemachine.Examined) error {
		switch {
		case h.Index != e.Index || h.Revision != e.Revision || h.RollingHash != e.RollingHash:
			return fmt.Errorf("its header says %+v, its state is %+v", h, e.Summary)
		case sim.check.states[e.Index] != e.RollingHash:
			return fmt.Errorf("at index %d it has hash %x, the members had %x", e.Index, e.RollingHash, sim.check.states[e.Index])
		}
		_, err := e.Keys(context.Background())
		return err
	})
	if err != nil {
		sim.fail("a snapshot saved from member %d: %v", s.p.host.id, err)
	}
	sim.trace.note(sim.clock.now, "saved", s.p.host.id, uint64(len(s.got)))
}

// broken checks that the part of a file which a dead member leaves is refused.
func (s *save) broken() {
	s.p.s.report.SavesBroken++
	if int64(len(s.got)) == s.file.SizeBytes() {
		return
	}
	err := s.p.s.examine(s.got, func(snap.SavedHeader, *statemachine.Examined) error { return nil })
	if err == nil {
		s.p.s.fail("%d of %d bytes of a snapshot file pass for all of it", len(s.got), s.file.SizeBytes())
	}
}

// examine opens a snapshot file. It has to be a real one for that.
func (s *simulation) examine(content []byte, look func(snap.SavedHeader, *statemachine.Examined) error) (err error) {
	dir, err := os.MkdirTemp("", "sim-save-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	saved, err := snap.OpenSaved(context.Background(), path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, saved.Close()) }()
	fs, files, err := saved.FS()
	if err != nil {
		return err
	}
	return statemachine.Examine(fs, files, func(e *statemachine.Examined) error { return look(saved.SavedHeader, e) })
}
