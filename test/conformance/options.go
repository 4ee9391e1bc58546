package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Options say what to run and how.
type Options struct {
	// ModuleDir is this module's directory, two below raft-kv's.
	ModuleDir string
	// Against is the server in place of etcd: "" for raft-kv, built from the
	// checkout; "etcd" for a real etcd; else the path of a binary.
	Against string
	// Only, if set, runs the tests it matches, those left out included.
	Only *regexp.Regexp
	// Smoke runs only what the list marks so.
	Smoke bool
	// Parallel is how many tests run at once; 0 means 2.
	Parallel int
	// TestTimeout bounds one test; 0 means 15 minutes: TestAuthority, which
	// starts 40 servers and 2,000 times etcdctl, takes 5 on a loaded machine.
	TestTimeout time.Duration
	// LogDir receives one file per failed test; "" means bin/conformance
	// of the checkout.
	LogDir string
	// Strict makes a test that skips itself fail the run.
	Strict bool
	// Out receives one line per test and the summary; nil means stdout.
	Out io.Writer
}

// EnsureDefaults fills what was left zero.
func (o *Options) EnsureDefaults() {
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	if o.TestTimeout == 0 {
		o.TestTimeout = 15 * time.Minute
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(o.ModuleDir, "../../bin/conformance")
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
}

// Validate reports all faults at once.
func (o Options) Validate() error {
	var faults []error
	if _, err := os.Stat(filepath.Join(o.ModuleDir, "tests.txt")); err != nil {
		faults = append(faults, fmt.Errorf("%q is not the directory of the conformance module: %w", o.ModuleDir, err))
	}
	if o.Parallel < 1 || o.Parallel > 64 {
		faults = append(faults, fmt.Errorf("%d tests at once: must be 1 to 64", o.Parallel))
	}
	if o.TestTimeout < time.Second {
		faults = append(faults, fmt.Errorf("a time limit of %v a test is too short", o.TestTimeout))
	}
	if o.Smoke && o.Only != nil {
		faults = append(faults, errors.New("the smoke subset and a choice of tests exclude each other"))
	}
	return errors.Join(faults...)
}

// choose picks from the list, in its order.
func (o Options) choose(list List) (chosen []string) {
	for _, e := range list.Tests {
		var wanted bool
		switch {
		case o.Only != nil:
			wanted = o.Only.MatchString(e.Test)
		case o.Smoke:
			wanted = e.Verb == VerbSmoke
		default:
			wanted = e.Verb != VerbOut
		}
		if wanted {
			chosen = append(chosen, e.Test)
		}
	}
	return chosen
}
