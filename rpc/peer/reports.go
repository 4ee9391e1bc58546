package peer

import "sync"

// reports collects what the handler has to be told, merged for each member, so
// that whoever finds out never waits for the handler.
type reports struct {
	ready chan struct{} // capacity 1: something may be there

	mu      sync.Mutex
	pending map[uint64]report
}

type report struct {
	unreachable       bool
	succeeded, failed int // snapshots; never merged, each one is reported
}

func newReports() *reports {
	return &reports{ready: make(chan struct{}, 1), pending: make(map[uint64]report)}
}

func (r *reports) unreachable(id uint64) {
	r.add(id, func(p *report) { p.unreachable = true })
}

func (r *reports) snapshot(id uint64, ok bool) {
	r.add(id, func(p *report) {
		if ok {
			p.succeeded++
		} else {
			p.failed++
		}
	})
}

func (r *reports) add(id uint64, f func(*report)) {
	r.mu.Lock()
	p := r.pending[id]
	f(&p)
	r.pending[id] = p
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// run hands reports to the handler until stop is closed, and then what is left.
func (r *reports) run(h Handler, stop <-chan struct{}) {
	for {
		select {
		case <-r.ready:
			r.deliver(h)
		case <-stop:
			r.deliver(h)
			return
		}
	}
}

func (r *reports) deliver(h Handler) {
	r.mu.Lock()
	pending := r.pending
	r.pending = make(map[uint64]report)
	r.mu.Unlock()
	for id, p := range pending {
		if p.unreachable {
			h.ReportUnreachable(id)
		}
		for range p.succeeded {
			h.ReportSnapshot(id, true)
		}
		for range p.failed {
			h.ReportSnapshot(id, false)
		}
	}
}
