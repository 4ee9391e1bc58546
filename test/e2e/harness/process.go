package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Command says what to run.
type Command struct {
	// Name labels the process in messages.
	Name, Path string
	Args       []string
	Dir        string
	Env        []string // in addition to the environment of the tests
	Stdin      io.Reader
}

// Process is a program that was started.
type Process struct {
	Name           string
	Stdout, Stderr *Output

	tb     testing.TB
	handle *os.Process
	ended  chan struct{}    // closed when the process has ended and was waited for
	state  *os.ProcessState // valid once ended is closed
}

// tailLines of each stream are logged when a test fails.
const tailLines = 25

// Start starts a process that is killed, if it still runs, when the test ends.
// Its last words are logged if the test has failed by then, and it fails if the
// Go runtime had to complain.
func Start(tb testing.TB, c Command) *Process {
	tb.Helper()
	p := start(tb, c)
	tb.Cleanup(func() {
		p.Kill()
		for _, sign := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
			if strings.Contains(p.Stderr.String(), sign) {
				tb.Errorf("%s: %q on its standard error output", p.Name, sign)
			}
		}
		if tb.Failed() {
			tb.Logf("%s (%s)\nstdout:\n%s\nstderr:\n%s", p.Name, p.state, p.Stdout.tail(tailLines), p.Stderr.tail(tailLines))
		}
	})
	return p
}

func start(tb testing.TB, c Command) *Process {
	tb.Helper()
	p := &Process{Name: c.Name, Stdout: newOutput(), Stderr: newOutput(), tb: tb, ended: make(chan struct{})}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	cmd.Env = append(cleanEnvironment(), c.Env...)
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = time.Second

	started := make(chan error, 1)
	go p.own(cmd, started)
	if err := <-started; err != nil {
		tb.Fatalf("starting %s: %v", c.Name, err)
	}
	return p
}

// own starts the process and waits for it on one thread.
func (p *Process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.handle = cmd.Process
	started <- nil
	// How it ended is in the state; an exit code is no failure here.
	_ = cmd.Wait()
	p.state = cmd.ProcessState
}

// cleanEnvironment is the environment without what the programs would read.
func cleanEnvironment() []string {
	var kept []string
	for _, setting := range os.Environ() {
		switch prefix, _, _ := strings.Cut(setting, "_"); prefix {
		case "RAFTKV", "ETCD", "ETCDCTL":
		default:
			kept = append(kept, setting)
		}
	}
	return kept
}

// PID is the id of the process, for reading about it in /proc while it runs.
func (p *Process) PID() int { return p.handle.Pid }

// Kill ends the process at once, as kill -9 does, and waits for it. It does
// nothing if the process has ended.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Signal sends a signal unless the process has ended.
func (p *Process) Signal(s syscall.Signal) {
	if err := p.handle.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Errorf("sending %v to %s: %v", s, p.Name, err)
	}
}

// Pause stops the process as SIGSTOP does and returns when it stands still.
func (p *Process) Pause() {
	p.tb.Helper()
	p.Signal(syscall.SIGSTOP)
	Until(p.tb, Patience, "pausing "+p.Name, func(context.Context) error { return stopped(p.handle.Pid) })
}

// Resume lets a paused process go on.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Exit waits for the end of the process and returns its exit code, -1 if a
// signal ended it.
func (p *Process) Exit(within time.Duration) int {
	p.tb.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.state.ExitCode()
	case <-timer.C:
		p.tb.Fatalf("%s has not ended within %v", p.Name, within)
		return 0
	}
}

// Line waits for a complete line on the standard output that satisfies ok, and
// returns it. It fails the test if the process ends without it.
func (p *Process) Line(within time.Duration, what string, ok func(line string) bool) string {
	p.tb.Helper()
	var found string
	p.wait(within, "the line "+what, func() bool {
		for _, line := range p.Stdout.Lines() {
			if ok(line) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// ExactLine waits for a line on the standard output.
func (p *Process) ExactLine(within time.Duration, want string) {
	p.tb.Helper()
	p.Line(within, want, func(line string) bool { return line == want })
}

// LineCount waits until the standard output has at least n lines.
func (p *Process) LineCount(within time.Duration, n int) {
	p.tb.Helper()
	p.wait(within, "enough lines of output", func() bool { return p.Stdout.Count() >= n })
}

// wait asks done whenever something was printed.
func (p *Process) wait(within time.Duration, what string, done func() bool) {
	p.tb.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		changed := p.Stdout.changed()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-p.ended:
			if !done() {
				p.tb.Fatalf("%s ended (%s) without %s", p.Name, p.state, what)
			}
			return
		case <-timer.C:
			p.tb.Fatalf("%s: %s did not come within %v", p.Name, what, within)
		}
	}
}

// Result is what a program that ran to its end did.
type Result struct {
	Stdout, Stderr string
	Code           int
}

func (r Result) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %q\nstderr: %q", r.Code, r.Stdout, r.Stderr)
}

// Run runs a program to its end.
func Run(tb testing.TB, within time.Duration, c Command) Result {
	tb.Helper()
	p := start(tb, c)
	defer p.Kill()
	code := p.Exit(within)
	return Result{Stdout: p.Stdout.String(), Stderr: p.Stderr.String(), Code: code}
}
