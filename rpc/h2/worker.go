package h2

import "sync"

// workersIdleMax bounds the goroutines that are kept for the next request.
const workersIdleMax = 1024

// workers run handlers on goroutines that have run one before: their stacks have
// grown to what a handler takes.
type workers struct {
	running sync.WaitGroup
	mu      sync.Mutex
	idle    []chan func()
	closed  bool
}

// do runs f. It must not be called once wait may have begun.
func (w *workers) do(f func()) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		// The one that came last has the warmest stack.
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		next <- f
		return
	}
	w.mu.Unlock()
	w.running.Add(1)
	go w.run(f)
}

func (w *workers) run(f func()) {
	defer w.running.Done()
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !w.park(next) {
			return
		}
		f = <-next
	}
}

func (w *workers) park(next chan func()) bool {
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
