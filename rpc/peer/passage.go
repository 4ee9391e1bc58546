package peer

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// SnapshotPhase is how far a transfer is.
type SnapshotPhase uint8

// Phases. A transfer that had nothing to move ends without having begun.
const (
	SnapshotBegun  SnapshotPhase = iota // what is missing is known
	SnapshotMoving                      // told every Options.ProgressInterval
	SnapshotDone
	SnapshotFailed // Err says why; the next attempt goes on there
)

// SnapshotProgress describes the transfer of a snapshot at a moment.
type SnapshotProgress struct {
	Peer    uint64 // the other side
	Index   uint64 // of the snapshot
	Sending bool   // else it is received
	Phase   SnapshotPhase
	Err     error

	// DoneBytes of TotalBytes are at the receiver, MovedBytes of them by this
	// transfer.
	TotalBytes, DoneBytes, MovedBytes int64
	BytesPerSecond                    int64
	// Elapsed is the time since the transfer was offered; Left what it will take
	// at this rate, 0 while that cannot be told.
	Elapsed, Left time.Duration
}

// passage follows one transfer, at either end.
type passage struct {
	t          *Transport
	peer       uint64
	index      uint64
	sending    bool
	totalBytes int64
	offered    time.Time

	mu struct {
		sync.Mutex
		began     time.Time // when it was known what is missing; zero: not yet
		remaining int64
		moved     int64
	}
	ended    chan struct{}
	reporter sync.WaitGroup
}

// begin registers a transfer. To be called by a goroutine that Close waits for.
func (t *Transport) begin(peer, index uint64, sending bool, totalBytes int64) *passage {
	p := &passage{t: t, peer: peer, index: index, sending: sending, totalBytes: totalBytes, offered: time.Now(), ended: make(chan struct{})}
	t.mu.Lock()
	t.mu.passages[p] = struct{}{}
	t.mu.Unlock()
	p.reporter.Go(func() {
		every := time.NewTicker(t.opts.ProgressInterval)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				if p.begun() {
					p.tell(SnapshotMoving, nil)
				}
			case <-p.ended:
				return
			}
		}
	})
	return p
}

// end tells how the transfer ended.
func (p *passage) end(err error) {
	p.t.mu.Lock()
	delete(p.t.mu.passages, p)
	p.t.mu.Unlock()
	close(p.ended)
	p.reporter.Wait()
	if err != nil {
		p.tell(SnapshotFailed, err)
	} else {
		p.tell(SnapshotDone, nil)
	}
}

// want notes what the receiver lacks; 0: it does not know yet.
func (p *passage) want(remainingBytes int64) {
	if remainingBytes == 0 {
		return
	}
	p.mu.Lock()
	first := p.mu.began.IsZero()
	if first {
		p.mu.began = time.Now()
	}
	p.mu.remaining = remainingBytes
	p.mu.Unlock()
	if first {
		p.tell(SnapshotBegun, nil)
	}
}

// move notes that bytes went over the wire.
func (p *passage) move(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.began.IsZero() {
		p.mu.remaining -= int64(bytes)
		p.mu.moved += int64(bytes)
	}
}

// begun says whether it is known what is missing.
func (p *passage) begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.mu.began.IsZero()
}

func (p *passage) tell(phase SnapshotPhase, err error) {
	if hook := p.t.opts.Hooks.Snapshot; hook != nil {
		progress := p.progress()
		progress.Phase, progress.Err = phase, err
		if phase == SnapshotDone {
			progress.DoneBytes, progress.Left = progress.TotalBytes, 0
		}
		hook(progress)
	}
}

func (p *passage) progress() SnapshotProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s := SnapshotProgress{
		Peer: p.peer, Index: p.index, Sending: p.sending, Phase: SnapshotMoving,
		TotalBytes: p.totalBytes, MovedBytes: p.mu.moved, Elapsed: now.Sub(p.offered),
	}
	if p.mu.began.IsZero() {
		return s
	}
	s.DoneBytes = p.totalBytes - p.mu.remaining
	if took := now.Sub(p.mu.began); took > 0 {
		s.BytesPerSecond = int64(float64(p.mu.moved) / took.Seconds())
	}
	if s.BytesPerSecond > 0 {
		s.Left = time.Duration(float64(p.mu.remaining) / float64(s.BytesPerSecond) * float64(time.Second))
	}
	return s
}

// Snapshots returns the transfers that are under way, by member.
func (t *Transport) Snapshots() []SnapshotProgress {
	t.mu.Lock()
	var under []*passage
	for p := range t.mu.passages {
		under = append(under, p)
	}
	t.mu.Unlock()
	var all []SnapshotProgress
	for _, p := range under {
		all = append(all, p.progress())
	}
	slices.SortFunc(all, func(a, b SnapshotProgress) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Index, b.Index))
	})
	return all
}
