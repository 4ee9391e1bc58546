package conformance

import (
	"fmt"
	"io"
	"time"
)

// Summary counts the results of a run.
type Summary struct {
	Passed, Failed, Skipped int
	Subtests                int // of the tests that passed
	LeftOut                 int // tests of the suite that were not chosen
	Took                    time.Duration
	Results                 []Result // in the order in which they ended
}

// OK reports whether the run proves what it was asked to.
func (s Summary) OK(strict bool) bool {
	return s.Passed > 0 && s.Failed == 0 && (s.Skipped == 0 || !strict)
}

func (s *Summary) add(r Result) {
	s.Results = append(s.Results, r)
	switch r.Verdict {
	case Passed:
		s.Passed++
		s.Subtests += r.Subtests
	case Skipped:
		s.Skipped++
	default:
		s.Failed++
	}
}

func (s Summary) print(w io.Writer, strict bool) {
	fmt.Fprintf(w, "conformance: %d passed (with %d subtests), %d failed, %d skipped, %d of the suite left out, in %v\n",
		s.Passed, s.Subtests, s.Failed, s.Skipped, s.LeftOut, s.Took.Round(time.Second))
	if strict && s.Skipped > 0 {
		fmt.Fprintln(w, "conformance: STRICT=1, so a skip is a failure")
	}
}

func (r Result) print(w io.Writer) {
	fmt.Fprintf(w, "%s  %-45s %5.1fs", r.Verdict, r.Test, r.Took.Seconds())
	if r.Subtests > 0 {
		fmt.Fprintf(w, "  %d subtests", r.Subtests)
	}
	if r.Why != "" {
		fmt.Fprintf(w, "  %s", r.Why)
	}
	if r.Log != "" {
		fmt.Fprintf(w, "  see %s", r.Log)
	}
	fmt.Fprintln(w)
	for _, bad := range r.Bad {
		fmt.Fprintf(w, "      %s\n", bad)
	}
}
