package measure

import (
	"math"
	"slices"
)

// Outage is how long nothing could be written, once per time that members were
// killed.
type Outage struct {
	Seconds []float64 `json:"seconds"`
	// CatchUpSeconds is how long each killed member took from its start until it
	// had caught up, where that was waited for.
	CatchUpSeconds []float64 `json:"catch_up_seconds,omitempty"`
}

// Quantile returns the smallest value that at least a share q of the values do
// not exceed; of q = 0.5 and an even number that is the lower one of the middle
// two. 0 if there are none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(len(sorted), max(1, rank))-1]
}
