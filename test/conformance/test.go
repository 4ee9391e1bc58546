package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Verdict on one test or subtest.
type Verdict string

const (
	Passed  Verdict = "pass"
	Failed  Verdict = "FAIL"
	Skipped Verdict = "SKIP"
)

// Result of one test of the suite.
type Result struct {
	Test     string
	Verdict  Verdict
	Subtests int      // that passed
	Bad      []string // subtests that failed, or skipped unexpectedly, with their verdict
	Took     time.Duration
	Why      string // what went wrong outside the test's own words
	Log      string // file with all output; "" unless the test failed
}

// graceAfterTimeout is how long a test may take to report its own timeout.
const graceAfterTimeout = 20 * time.Second

// test runs one test in its sandbox and in a directory of its own, which it
// removes.
func (r runner) test(ctx context.Context, name string) Result {
	result := Result{Test: name, Verdict: Failed}
	home := filepath.Join(r.dir, name)
	defer func() {
		if err := os.RemoveAll(home); err != nil {
			result.Why = strings.TrimSpace(result.Why + " left behind: " + err.Error())
		}
	}()
	workDir, tmp, err := r.furnish(home)
	if err != nil {
		result.Why = err.Error()
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, r.TestTimeout+graceAfterTimeout)
	defer cancel()
	log, err := os.Create(filepath.Join(home, "output.log"))
	if err != nil {
		result.Why = err.Error()
		return result
	}
	defer func() { _ = log.Close() }() // a scratch file: keep copied what counts
	cmd := sandboxed(ctx, r.binary, "-test.run", "^"+name+"$", "-test.v", "-test.count=1",
		"-test.timeout", r.TestTimeout.String(), "-bin-dir", r.binDir)
	cmd.Dir = workDir
	// The driver repeats what its servers print when EXPECT_DEBUG is set.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp, "EXPECT_DEBUG=true"}
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	exit := cmd.Run()
	result.Took = time.Since(began)
	_, err = log.Seek(0, io.SeekStart)
	result.judge(log, errors.Join(err, exit), r.list.maySkip)
	if ctx.Err() != nil {
		result.Verdict, result.Why = Failed, "ended by the runner: "+context.Cause(ctx).Error()
	}
	if result.Verdict == Failed {
		result.keep(r.LogDir, log.Name())
	}
	return result
}

// furnish gives a test its working directory, a copy of the package's, with
// the fixtures where they are looked for, and a directory for its data.
func (s suite) furnish(home string) (workDir, tmp string, err error) {
	workDir, tmp = filepath.Join(home, "common"), filepath.Join(home, "tmp")
	err = errors.Join(
		os.CopyFS(workDir, os.DirFS(s.source)),
		os.CopyFS(filepath.Join(home, "fixtures"), os.DirFS(s.fixtures)),
		os.MkdirAll(tmp, 0o755))
	if err != nil {
		return "", "", fmt.Errorf("a working directory: %w", err)
	}
	return workDir, tmp, nil
}

var verdictLine = regexp.MustCompile(`--- (PASS|FAIL|SKIP): (.+) \([0-9.]+s\)\s*$`)

// judge reads the verdicts out of the test's output (invariant 1).
func (r *Result) judge(output io.Reader, exit error, maySkip func(subtest string) bool) {
	own := Verdict("")
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if m := verdictLine.FindStringSubmatch(line); m != nil {
			v := map[string]Verdict{"PASS": Passed, "FAIL": Failed, "SKIP": Skipped}[m[1]]
			switch sub, isSub := strings.CutPrefix(m[2], r.Test+"/"); {
			case m[2] == r.Test:
				own = v
			case isSub:
				switch {
				case v == Passed:
					r.Subtests++
				case v == Failed || !maySkip(m[2]):
					r.Bad = append(r.Bad, fmt.Sprintf("%s %s", v, sub))
				}
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				exit = errors.Join(exit, err)
			}
			break
		}
	}
	switch {
	case own == "":
		r.Verdict, r.Why = Failed, "ended without a verdict of its own"
	case exit != nil:
		r.Verdict, r.Why = Failed, exit.Error()
	case own == Passed && len(r.Bad) > 0:
		r.Verdict = Skipped // a pass in which a subtest skipped
	default:
		r.Verdict = own
	}
}

// keep copies the output of a failed test to the log directory.
func (r *Result) keep(dir, output string) {
	path := filepath.Join(dir, r.Test+".log")
	text, err := os.ReadFile(output)
	err = errors.Join(err, os.MkdirAll(dir, 0o755))
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		r.Why = strings.TrimSpace(r.Why + " (its log is lost: " + err.Error() + ")")
		return
	}
	r.Log = path
}
