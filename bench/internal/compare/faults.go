package compare

import (
	"fmt"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/measure"
)

// faultsOf lists what makes a measurement doubtful, and failures that were to be
// expected. A wrong answer never is.
func faultsOf(p measure.Point) []Fault {
	var faults []Fault
	doubt := func(format string, args ...any) {
		faults = append(faults, Fault{Text: fmt.Sprintf(format, args...)})
	}
	for _, text := range p.Doubts {
		doubt("%s", text)
	}
	for _, e := range p.Errors {
		doubt("%s", failures(e, ""))
		faults[len(faults)-1].Expected = p.FailuresExpected && e.Class != kvload.ClassWrongAnswer
	}
	for _, e := range p.WarmupErrors {
		doubt("%s", failures(e, " in the warm-up"))
	}
	if p.LeaderChanged {
		doubt("the leader changed during the measurement")
	}
	if p.Unsent > 0 {
		doubt("%d operations were due but never sent", p.Unsent)
	}
	return faults
}

func failures(e load.ErrorCount, when string) string {
	return fmt.Sprintf("%d operations failed%s: %s, such as: %s", e.Count, when, e.Class, e.Example)
}
