package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one running server.
type process struct {
	name    string
	binary  string
	args    []string
	pid     int
	logPath string
	handle  *os.Process
	ended   chan struct{} // closed when the process has ended and was waited for
	exit    error         // valid once ended is closed
}

// startProcess starts binary with output appended to a log file. The process runs until
// it ends by itself or stop is called.
func startProcess(name, binary, logPath string, args []string) (*process, error) {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating the log of %s: %w", name, err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = cleanEnvironment(os.Environ())
	cmd.SysProcAttr = childAttributes()

	p := &process{name: name, binary: binary, args: args, logPath: logPath, ended: make(chan struct{})}
	started := make(chan error)
	go p.own(cmd, started)
	err = <-started
	// The child has its own descriptor.
	if err = errors.Join(err, logFile.Close()); err != nil {
		if p.handle != nil {
			err = errors.Join(err, p.stop(context.Background(), 0))
		}
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// own starts the process and waits for it, on one thread (see doc.go). It
// reports the start once on started; pid and handle are set before.
func (p *process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	if err := cmd.Start(); err != nil {
		p.exit = err
		started <- err
		return
	}
	p.handle, p.pid = cmd.Process, cmd.Process.Pid
	started <- nil
	p.exit = cmd.Wait()
}

// alive returns an error with the end of the log if the process has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself (%s); the end of its log:\n%s", p.name, p.exitText(), logTail(p.logPath))
	default:
		return nil
	}
}

func (p *process) exitText() string {
	if p.exit == nil {
		return "exit status 0"
	}
	return p.exit.Error()
}

// terminate asks the process to end and does not wait.
func (p *process) terminate() error {
	if err := p.handle.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("asking %s to end: %w", p.name, err)
	}
	return nil
}

// errKilled means that a process ignored the request to end.
var errKilled = errors.New("did not end in time and was killed")

// stop waits for the process, at most for grace or until ctx ends, then kills
// it. When it returns the process has ended.
func (p *process) stop(ctx context.Context, grace time.Duration) error {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := p.handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.ended
	return fmt.Errorf("%s: %w after %v", p.name, errKilled, grace)
}

// cleanEnvironment drops settings that servers would take from it.
func cleanEnvironment(environ []string) []string {
	var kept []string
	for _, setting := range environ {
		if !strings.HasPrefix(setting, "ETCD_") && !strings.HasPrefix(setting, "RAFTKV_") {
			kept = append(kept, setting)
		}
	}
	return kept
}

const logTailBytes = 2048

func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "(empty)"
	}
	if len(text) > logTailBytes {
		text = "…" + text[len(text)-logTailBytes:]
	}
	return text
}
