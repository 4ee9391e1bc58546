package processors

import "time"

const (
	// windowLength is how long the process is observed before each decision: long
	// enough for hundreds of samples of a lone client, short enough that a burst
	// is not held up for long.
	windowLength = 200 * time.Millisecond
	// waitsMin is the number of samples below which a window says nothing about
	// waiting. The runtime samples every eighth time that a goroutine becomes ready.
	waitsMin = 8

	// A window below both is quiet. A lone client makes waits of 2 to 6 us and uses
	// 0.3 to 0.6 cores, ten clients 8 to 30 us and 0.9.
	quietWait   = 20 * time.Microsecond
	quietCores  = 0.7
	quietInARow = 3
	// A window above one of them is busy. With one processor a hundred clients make
	// waits of 50 us and more, and nobody can use more than one core.
	busyWait  = 40 * time.Microsecond
	busyCores = 0.85

	// After a busy window all processors stay for holdMin at least. That doubles,
	// up to holdMax, if one processor lasted less than soon, and is forgotten
	// if it lasted forgetAfter. Going down in vain costs one window under load, so
	// two seconds of one processor were worth it, even if load comes then.
	holdMin     = 2 * time.Second
	holdMax     = time.Minute
	soon        = 2 * time.Second
	forgetAfter = 10 * time.Second
)

// window is what was observed between two decisions.
type window struct {
	length time.Duration
	waits  uint64        // samples of goroutines that waited for a processor
	waited time.Duration // all of them together
	cpu    time.Duration // used by all threads
}

func (w window) meanWait() time.Duration {
	if w.waits < waitsMin {
		return 0
	}
	return w.waited / time.Duration(w.waits)
}

func (w window) cores() float64 {
	if w.length <= 0 {
		return 0
	}
	return float64(w.cpu) / float64(w.length)
}

func (w window) quiet() bool { return w.meanWait() < quietWait && w.cores() < quietCores }
func (w window) busy() bool  { return w.meanWait() > busyWait || w.cores() > busyCores }

// policy decides, one window after the other. Its zero value has all
// processors.
type policy struct {
	one    bool
	lasted time.Duration // how long one or all, whichever it is, has lasted
	quiet  int           // windows in a row, with all processors
	hold   time.Duration // how long all must last
}

// next says whether the process should have one processor after w.
func (p *policy) next(w window) (one bool) {
	p.lasted += w.length
	if p.one {
		if w.busy() {
			p.goUp()
		}
		return p.one
	}
	if !w.quiet() {
		p.quiet = 0
		return false
	}
	p.quiet++
	if p.quiet >= quietInARow && p.lasted >= p.hold {
		p.one, p.lasted = true, 0
	}
	return p.one
}

func (p *policy) goUp() {
	switch {
	case p.lasted >= forgetAfter:
		p.hold = holdMin
	case p.lasted < soon:
		p.hold = min(max(2*p.hold, holdMin), holdMax)
	default:
		p.hold = max(p.hold, holdMin)
	}
	p.one, p.lasted, p.quiet = false, 0, 0
}
