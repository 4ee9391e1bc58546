package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/snap"
)

// streamTime is the mean time that the files of a snapshot take, streamTimeout
// when the sender gives up on a receiver that says nothing.
const (
	streamTime    = 40 * time.Millisecond
	streamTimeout = 2 * time.Second
)

// stream copies the archive that m names to the receiver's staging and then
// delivers m, as a transport does. It may fail on the way; either way the
// sender's core is told how it ended.
func (p *process) stream(m *raftpb.Message) {
	s, to := p.s, m.GetTo()
	s.trace.note(s.clock.now, "stream", p.host.id, to, m.GetSnapshot().GetMetadata().GetIndex())
	finished := false
	finish := func(ok bool) {
		p.now(func() {
			if !finished {
				finished = true
				p.loop(func() { p.core.ReportSnapshot(to, ok) })
			}
		})
	}
	s.clock.after(streamTimeout, func() { finish(false) })
	archive, err := p.archive(m.GetSnapshot())
	if errors.Is(err, snap.ErrGone) {
		finish(false) // a newer one replaced it; raft will ask again
		return
	}
	if err != nil {
		s.fail("member %d: read snapshot %d: %v", p.host.id, m.GetSnapshot().GetMetadata().GetIndex(), err)
		return
	}
	if p.rng.Float64() < 0.1 { // the connection breaks somewhere
		archive = archive[:int(p.rng.Float64()*float64(len(archive)))]
	}
	data, err := proto.Marshal(m)
	if err != nil {
		s.fail("encode a snapshot message: %v", err)
		return
	}
	s.net.carry(p.host.id, to, func(q *process) {
		q.after(q.some(streamTime), func() {
			ok := q.stage(p, data, archive)
			s.clock.after(s.net.way(), func() { finish(ok) })
		})
	}, func() { finish(false) })
}

func (p *process) archive(snapshot *raftpb.Snapshot) ([]byte, error) {
	r, _, err := p.snaps.Open(snapshot)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// stage is the receiving end.
func (p *process) stage(from *process, data, archive []byte) bool {
	if p.core == nil || !p.admits(from) {
		return false
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		p.s.fail("decode a snapshot message: %v", err)
		return false
	}
	err := p.mayDieIn(func() error { return p.snaps.Stage(context.Background(), m.GetSnapshot(), ranges(archive)) })
	if errors.As(err, new(died)) {
		p.s.report.DeathsInstalling++
		p.broke("stage", err)
		return false
	}
	p.s.trace.note(p.s.clock.now, "stage", p.host.id, m.GetSnapshot().GetMetadata().GetIndex(), bit(err == nil))
	if err == nil {
		p.loop(func() { p.core.Step(m) })
	}
	return err == nil
}

// ranges serves what a receiver asks for of an archive that may be cut short.
func ranges(archive []byte) snap.Fetch {
	return func(wanted [][2]int64, _ int64) (io.Reader, error) {
		var all []io.Reader
		for _, r := range wanted {
			from, to := min(r[0], int64(len(archive))), min(r[0]+r[1], int64(len(archive)))
			all = append(all, bytes.NewReader(archive[from:to]))
			if to < r[0]+r[1] {
				break // the connection broke here
			}
		}
		return io.MultiReader(all...), nil
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
