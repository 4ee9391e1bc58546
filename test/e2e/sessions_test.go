package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftkv/client"
	"raftkv/test/e2e/harness"
)

var sessionKillsFlag = flag.Int("session-kills", 3, "leaders that TestSessionsUnderKills kills")

const (
	sessionSessions = 3
	sessionCallers  = 40 // for each session
	sessionCounters = 8  // keys that all increment
)

// tally is what one caller knows of its increments of one counter.
type tally struct {
	sums    []int64
	unknown int
}

// TestSessionsUnderKills increments a few counters by many callers of several
// sessions while one leader after the other is killed with kill -9. Every
// increment that was answered is applied exactly once, and its sum is nobody
// else's; nothing is applied that nobody asked for.
func TestSessionsUnderKills(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	native, err := client.New(client.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := native.Close(); err != nil {
			t.Error(err)
		}
	}()
	var sessions []*client.Session
	for range sessionSessions {
		s, err := native.NewSession(client.SessionConfig{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sessions = append(sessions, s)
	}
	var stop atomic.Bool
	var acknowledged, longest atomic.Int64
	var callers sync.WaitGroup
	tallies := make([][sessionCounters]tally, sessionSessions*sessionCallers)
	for i := range tallies {
		callers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				counter := (i + n) % sessionCounters
				own := &tallies[i][counter]
				began := time.Now()
				sum, err := sessions[i%sessionSessions].Increment(t.Context(), fmt.Appendf(nil, "counter-%d", counter), 1)
				took := int64(time.Since(began))
				for before := longest.Load(); took > before && !longest.CompareAndSwap(before, took); before = longest.Load() {
				}
				switch {
				case err == nil:
					own.sums = append(own.sums, sum)
					acknowledged.Add(1)
				case errors.Is(err, client.ErrUnknownOutcome):
					own.unknown++
				case !errors.Is(err, client.ErrNotApplied):
					t.Errorf("an error that says nothing of the outcome: %v", err)
				default:
					t.Errorf("within a minute there is always a leader: %v", err)
				}
			}
		})
	}
	for kill := range *sessionKillsFlag {
		before := acknowledged.Load()
		leader, _ := c.Leader()
		harness.Until(t, harness.Patience, "increments behind a start", func(context.Context) error { return moreThan(&acknowledged, before+500) })
		leader.Kill()
		before = acknowledged.Load()
		harness.Until(t, harness.Patience, fmt.Sprintf("increments behind kill %d", kill+1), func(context.Context) error { return moreThan(&acknowledged, before+500) })
		leader.Start()
		leader.Ready()
	}
	stop.Store(true)
	callers.Wait()
	total := 0
	for counter := range sessionCounters {
		seen := make(map[int64]bool)
		unknown := 0
		for i := range tallies {
			own := tallies[i][counter]
			unknown += own.unknown
			for _, sum := range own.sums {
				if seen[sum] {
					t.Errorf("counter %d: two increments led to %d", counter, sum)
				}
				seen[sum] = true
			}
		}
		v, _, err := sessions[0].Get(t.Context(), fmt.Appendf(nil, "counter-%d", counter))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(string(v.Bytes))
		if err != nil || n < len(seen) || n > len(seen)+unknown {
			t.Errorf("counter %d is %s behind %d increments and %d of unknown outcome", counter, v.Bytes, len(seen), unknown)
		}
		for sum := range seen {
			if sum < 1 || sum > int64(n) {
				t.Errorf("counter %d: an increment led to %d, it is %d", counter, sum, n)
			}
		}
		total += n
		if unknown > 0 {
			t.Errorf("counter %d: %d outcomes are unknown; a session learns them", counter, unknown)
		}
	}
	requireEqualStates(t, c.Nodes...)
	t.Logf("%d increments, %d leaders killed, the longest call took %v", total, *sessionKillsFlag, time.Duration(longest.Load()).Round(time.Millisecond))
}

func moreThan(n *atomic.Int64, want int64) error {
	if have := n.Load(); have < want {
		return fmt.Errorf("%d, want %d", have, want)
	}
	return nil
}
