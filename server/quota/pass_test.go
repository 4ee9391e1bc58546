package quota

import "time"

// pass lets virtual time pass; only for use in a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }
