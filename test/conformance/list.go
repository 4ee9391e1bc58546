package conformance

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

//go:embed tests.txt
var testsTxt string

// Verb says what the list wants done with a test.
type Verb string

const (
	VerbRun   Verb = "run"   // by make conformance
	VerbSmoke Verb = "smoke" // also by this module's own tests
	VerbOut   Verb = "out"   // left out, with a reason
	verbSkips Verb = "skips" // not a test: subtests that the suite skips itself
)

// List is what tests.txt says.
type List struct {
	Tests []Entry
	// Skips match the full names of subtests whose skip says nothing about
	// the server.
	Skips []*regexp.Regexp
}

// Entry is the line of one test.
type Entry struct {
	Verb   Verb
	Test   string
	Reason string // of VerbOut; "" otherwise
}

// ParseList reads the format described at the top of tests.txt and reports
// every fault at once.
func ParseList(text string) (List, error) {
	var list List
	var faults []error
	seen := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, err := list.parseLine(line)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("line %d: %w", number, err))
		case seen[name]:
			faults = append(faults, fmt.Errorf("line %d: %s is listed twice", number, name))
		}
		seen[name] = true
	}
	return list, errors.Join(append(faults, lines.Err())...)
}

var testName = regexp.MustCompile(`^Test[A-Za-z0-9_]+$`)

// parseLine adds what the line says and returns the name it speaks of.
func (l *List) parseLine(line string) (name string, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	name, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
	reason = strings.TrimSpace(reason)
	if wantsReason := Verb(verb) == VerbOut || Verb(verb) == verbSkips; wantsReason != (reason != "") {
		return name, fmt.Errorf("%s %s: reason %q: left out and skipped tests have one, others none", verb, name, reason)
	}
	switch Verb(verb) {
	case VerbRun, VerbSmoke, VerbOut:
		if !testName.MatchString(name) {
			return name, fmt.Errorf("%q is not the name of a test", name)
		}
		l.Tests = append(l.Tests, Entry{Verb: Verb(verb), Test: name, Reason: reason})
	case verbSkips:
		pattern, err := regexp.Compile(name)
		if err != nil {
			return name, fmt.Errorf("subtests that are skipped: %w", err)
		}
		l.Skips = append(l.Skips, pattern)
	default:
		return name, fmt.Errorf("%q is none of run, smoke, out, skips", verb)
	}
	return name, nil
}

// maySkip reports whether the list knows that the suite skips this subtest.
func (l List) maySkip(subtest string) bool {
	for _, pattern := range l.Skips {
		if pattern.MatchString(subtest) {
			return true
		}
	}
	return false
}

// CheckComplete compares the list with the names that the compiled suite
// reports.
func (l List) CheckComplete(suite []string) error {
	var faults []error
	listed := map[string]bool{}
	for _, e := range l.Tests {
		listed[e.Test] = true
	}
	for _, name := range suite {
		if !listed[name] {
			faults = append(faults, fmt.Errorf("%s of the suite is not in tests.txt", name))
		}
		delete(listed, name)
	}
	for name := range listed {
		faults = append(faults, fmt.Errorf("%s in tests.txt is not in the suite", name))
	}
	return errors.Join(faults...)
}
