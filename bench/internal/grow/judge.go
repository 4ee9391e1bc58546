package grow

import (
	"fmt"

	"raftkv/bench/internal/measure"
)

const (
	// costGrowthMax bounds the cost of an operation at the last step over that at the
	// first.
	costGrowthMax = 1.5
	// memoryGrowthMax is what flat means: of memory at the last step over that with
	// memoryFlatFrom keys, since caches are still filling with fewer.
	memoryGrowthMax = 1.25
	memoryFlatFrom  = 1_000_000
	// quietCores is how much of a core others may use before the report says so.
	quietCores = 0.1
)

// Verdicts on growth.
const (
	Met     = "met"
	Missed  = "MISSED"
	Invalid = "not counted"  // operations failed
	Unknown = "not measured" // too few steps
)

// Growth is one figure at the last step over that at an earlier one.
type Growth struct {
	What     string  `json:"what"`
	FromKeys int     `json:"from_keys,omitempty"`
	ToKeys   int     `json:"to_keys,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	AtMost   float64 `json:"at_most"`
	Verdict  string  `json:"verdict"`
}

func (g Growth) String() string {
	if g.Verdict == Unknown {
		return fmt.Sprintf("%-13s at most %.2fx: %s", g.What, g.AtMost, g.Verdict)
	}
	return fmt.Sprintf("%-13s %.2fx from %d to %d keys, at most %.2fx: %s", g.What, g.Ratio, g.FromKeys, g.ToKeys, g.AtMost, g.Verdict)
}

func judge(steps []Step) []Growth {
	putCPU := func(s Step) float64 { return cpu(s.Puts) }
	getCPU := func(s Step) float64 { return cpu(s.Gets) }
	resident := func(s Step) float64 { return float64(s.resident()) }
	return []Growth{
		growth("CPU us/put", steps, 0, costGrowthMax, putCPU),
		growth("CPU us/get", steps, 0, costGrowthMax, getCPU),
		growth("resident", steps, memoryFlatFrom, memoryGrowthMax, resident),
	}
}

// growth compares the last step with the first that has at least so many keys.
func growth(what string, steps []Step, keysMin int, atMost float64, value func(Step) float64) Growth {
	g := Growth{What: what, AtMost: atMost, Verdict: Unknown}
	for len(steps) > 0 && steps[0].Keys < keysMin {
		steps = steps[1:]
	}
	if len(steps) < 2 || value(steps[0]) <= 0 {
		return g
	}
	first, last := steps[0], steps[len(steps)-1]
	g.FromKeys, g.ToKeys, g.Ratio = first.Keys, last.Keys, value(last)/value(first)
	switch {
	case len(first.faults())+len(last.faults()) > 0:
		g.Verdict = Invalid
	case g.Ratio <= atMost:
		g.Verdict = Met
	default:
		g.Verdict = Missed
	}
	return g
}

func cpu(p measure.Point) float64 {
	if p.Servers == nil {
		return 0
	}
	return p.Servers.CPUPerOpUS
}

// resident is the most that the members had after a window.
func (s Step) resident() int64 {
	most := int64(0)
	for _, p := range []measure.Point{s.Puts, s.Gets} {
		if p.Servers != nil {
			most = max(most, p.Servers.ResidentBytes)
		}
	}
	return most
}

// busiest is the most that others used in a window.
func (s Step) busiest() float64 {
	most := 0.0
	for _, p := range []measure.Point{s.Puts, s.Gets} {
		if p.Others != nil {
			most = max(most, p.Others.Cores+p.Others.StolenCores)
		}
	}
	return most
}

// faults make a step's figures doubtful.
func (s Step) faults() []string {
	var texts []string
	for _, m := range []struct {
		name  string
		point measure.Point
	}{{"puts", s.Puts}, {"gets", s.Gets}} {
		if n := m.point.ErrorTotal(); n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s failed", n, m.name))
		}
		if m.point.LeaderChanged {
			texts = append(texts, fmt.Sprintf("the leader changed beside %s", m.name))
		}
		for _, doubt := range m.point.Doubts {
			texts = append(texts, fmt.Sprintf("%s: %s", m.name, doubt))
		}
	}
	return texts
}
