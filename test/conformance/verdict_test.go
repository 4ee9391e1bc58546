package conformance

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, c := range []struct {
		name, output string
		exit         error
		want         Verdict
		subtests     int
		bad          []string
	}{
		{name: "a pass", output: "=== RUN   TestX\n--- PASS: TestX (0.10s)\nPASS\n", want: Passed},
		{name: "silence", output: "PASS\n", want: Failed},
		{name: "another test's pass", output: "--- PASS: TestXY (0.10s)\n", want: Failed},
		{name: "a pass and a bad end", output: "--- PASS: TestX (0.10s)\n", exit: exit, want: Failed},
		{name: "a failure", output: "--- FAIL: TestX (0.10s)\n", exit: exit, want: Failed},
		{name: "a skip", output: "--- SKIP: TestX (0.00s)\n", want: Skipped},
		{
			name:   "subtests, one behind a line of a server that was cut short",
			output: "etcd (13): started--- PASS: TestX/NoTLS (1.00s)\n    --- PASS: TestX/TLS/a (0.10s)\r\n--- PASS: TestX (2.00s)\n",
			want:   Passed, subtests: 2,
		},
		{
			name:   "a subtest that failed",
			output: "    --- FAIL: TestX/TLS (1.00s)\n--- FAIL: TestX (2.00s)\n", exit: exit,
			want: Failed, bad: []string{"FAIL TLS"},
		},
		{
			name:   "a subtest that skipped, and one that may",
			output: "    --- SKIP: TestX/TLS (1.00s)\n    --- SKIP: TestX/known (1.00s)\n--- PASS: TestX (2.00s)\n",
			want:   Skipped, bad: []string{"SKIP TLS"},
		},
	} {
		r := Result{Test: "TestX"}
		r.judge(strings.NewReader(c.output), c.exit, func(subtest string) bool { return subtest == "TestX/known" })
		if r.Verdict != c.want || r.Subtests != c.subtests || !slices.Equal(r.Bad, c.bad) {
			t.Errorf("%s: %s, %d subtests, bad %v", c.name, r.Verdict, r.Subtests, r.Bad)
		}
	}
}

func TestSummary(t *testing.T) {
	var s Summary
	if s.OK(false) {
		t.Error("nothing ran, and that is fine")
	}
	s.add(Result{Verdict: Passed})
	s.add(Result{Verdict: Skipped})
	if !s.OK(false) || s.OK(true) {
		t.Errorf("with a skip: %v, strictly %v", s.OK(false), s.OK(true))
	}
	s.add(Result{Verdict: Failed})
	if s.OK(false) {
		t.Error("a failure is fine")
	}
}
