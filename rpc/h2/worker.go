package h2

import "sync"

// workersIdleMax bounds the goroutines that are kept for the next request.
const workersIdleMax = 1024

// workers run handlers on goroutines that have run one before: their stacks have
// grown to what a handler takes.
type workers struct {
	running sync.WaitGroup
	mu      sync.Mutex
	idle    []chan *stream
	closed  bool
}

// do has a stream served. It must not be called once wait may have begun.
func (w *workers) do(s *stream) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		// The one that came last has the warmest stack.
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		next <- s
		return
	}
	w.mu.Unlock()
	w.running.Add(1)
	go w.run(s)
}

func (w *workers) run(s *stream) {
	defer w.running.Done()
	next := make(chan *stream, 1)
	for s != nil {
		s.serve()
		if !w.park(next) {
			return
		}
		s = <-next
	}
}

func (w *workers) park(next chan *stream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) == workersIdleMax {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// wait ends the idle and waits for the others.
func (w *workers) wait() {
	w.mu.Lock()
	w.closed = true
	for _, next := range w.idle {
		next <- nil
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
