package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"raftkv/client/clienttest"
)

// asRaftCLI makes the test binary raft-cli, so that tests can give it a
// terminal of its own.
const asRaftCLI = "RAFTKV_TEST_AS_RAFT_CLI"

// screen is a shell on a pseudo terminal and all it has printed.
type screen struct {
	t   *testing.T
	tty *os.File
	cmd *exec.Cmd
	mu  struct {
		sync.Mutex
		text []byte
		more chan struct{} // closed at the next output and at the end
		over bool
	}
	seen int // up to where expect has read
}

func openScreen(t *testing.T, args ...string) *screen {
	s := &screen{t: t}
	s.mu.more = make(chan struct{})
	s.cmd = exec.Command(os.Args[0], args...)
	s.cmd.Env = append(os.Environ(), asRaftCLI+"=1", "TERM=xterm")
	var err error
	if s.tty, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-done
		if err := s.tty.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("screen:\n%q", s.mu.text)
		}
	})
	return s
}

func (s *screen) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.tty.Read(b) // fails once nobody has the other end open
		s.mu.Lock()
		s.mu.text = append(s.mu.text, b[:n]...)
		s.mu.over = err != nil
		close(s.mu.more)
		s.mu.more = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send types and then waits for a text behind what was expected before.
func (s *screen) send(keys, want string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
	s.expect(want)
}

func (s *screen) expect(want string) {
	s.t.Helper()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	for {
		s.mu.Lock()
		text, more, over := string(s.mu.text), s.mu.more, s.mu.over
		s.mu.Unlock()
		if i := strings.Index(text[s.seen:], want); i >= 0 {
			s.seen += i + len(want)
			return
		}
		if over {
			s.t.Fatalf("ended without %q", want)
		}
		select {
		case <-more:
		case <-timer.C:
			s.t.Fatalf("%q has not come", want)
		}
	}
}

func (s *screen) exit() int {
	var failed *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &failed) {
		s.t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode()
}

const (
	ctrlC, ctrlD, ctrlR, tab, up = "\x03", "\x04", "\x12", "\t", "\x1b[A"
	prompt                       = "> "
)

// TestShellOnATerminal types at a real line editor on a pseudo terminal.
func TestShellOnATerminal(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 3})
	t.Setenv(endpointsVariable, strings.Join(cluster.Endpoints(), ","))
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	s := openScreen(t, "shell")
	s.expect("3 members, node 1 leads.")
	s.expect(cluster.Endpoints()[0] + " (+2)> ")
	// Verbs, keys and formats are completed.
	s.send("se"+tab, "set ")
	s.send("'two words' red\r", "OK (committed to 3/3 nodes)")
	s.expect(prompt)
	s.send("get two"+tab, "'two words'")
	s.send("\r", "red\r\n")
	s.expect(prompt)
	s.send("get x -w js"+tab, "json")
	// An interrupt at the prompt ends the line, not the shell.
	s.send(ctrlC, "\r\n")
	s.expect(prompt)
	// Errors do not end it, either.
	s.send("frobnicate\r", `unknown command "frobnicate"`)
	s.expect(prompt)
	// Input for a verb has a prompt of its own; an interrupt there gives it up.
	s.send("set letter -\r", "| ")
	s.send("one line\r", "\r\n")
	s.expect("| ")
	s.send(ctrlD, "OK (committed")
	s.expect(prompt)
	s.send("set letter -\r", "| ")
	s.send(ctrlC, prompt)
	s.send("get letter\r", "one line\r\n")
	s.expect(prompt)
	// The history is searched and gone through.
	s.send(ctrlR, "reverse-i-search")
	s.send("two w\r", "red\r\n")
	s.expect(prompt)
	s.send(up+up+"\r", "one line\r\n")
	s.expect(prompt)
	s.send(ctrlD, "")
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	kept, err := os.ReadFile(filepath.Join(state, "raft-kv", "shell_history"))
	if err != nil || !bytes.HasPrefix(kept, []byte("set 'two words' red\n")) || bytes.Contains(kept, []byte("one line")) {
		t.Errorf("%s, %v", kept, err)
	}
}

// TestShellInterruptEndsTheVerb: a request that never ends is given up, and the
// shell goes on. SIGTERM ends it.
func TestShellInterruptEndsTheVerb(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	t.Setenv(endpointsVariable, cluster.Endpoints()[0])
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := openScreen(t, "shell", "--timeout", "10m")
	s.expect(prompt)
	hanging := make(chan struct{})
	hang(cluster.Member(1), hanging)
	s.send("set a 1\r", "")
	<-hanging
	s.send(ctrlC, "outcome unknown")
	s.expect(prompt)
	cluster.Member(1).Intercept(nil)
	s.send("get nothing\r", "not found")
	s.expect(prompt)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.exit(); code != 1 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}
