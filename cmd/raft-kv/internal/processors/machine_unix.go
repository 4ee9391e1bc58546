//go:build unix

package processors

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// process is this process.
type process struct {
	waits waits
	times unix.Rusage
}

func newMachine() machine { return &process{} }

func (p *process) used() (usage, error) {
	count, sum, err := p.waits.sinceStart()
	if err != nil {
		return usage{}, err
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &p.times); err != nil {
		return usage{}, fmt.Errorf("ask for the CPU used: %w", err)
	}
	return usage{waits: count, waited: sum, cpu: duration(p.times.Utime) + duration(p.times.Stime)}, nil
}

func duration(t unix.Timeval) time.Duration { return time.Duration(t.Nano()) }

func (p *process) one() { runtime.GOMAXPROCS(1) }

// all is not the number that there was: a number given would keep the runtime
// from following the control group.
func (p *process) all() { runtime.SetDefaultGOMAXPROCS() }
