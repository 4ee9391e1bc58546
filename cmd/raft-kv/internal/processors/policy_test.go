package processors

import (
	"testing"
	"time"
)

// seen is a window of the usual length with 250 samples, which a lone client
// makes.
func seen(mean time.Duration, cores float64) window {
	return window{length: windowLength, waits: 250, waited: 250 * mean, cpu: time.Duration(cores * float64(windowLength))}
}

var (
	// What was measured on two cores (docs/adr/0011).
	idle        = window{length: windowLength}
	loneClient  = seen(6*time.Microsecond, 0.6)
	tenClients  = seen(30*time.Microsecond, 0.7)
	tenGetters  = seen(15*time.Microsecond, 0.9)
	hundred     = seen(50*time.Microsecond, 0.8)
	thousand    = seen(1500*time.Microsecond, 1)
	follower    = seen(19*time.Microsecond, 0.4)
	fewButLong  = window{length: windowLength, waits: waitsMin - 1, waited: 30 * time.Millisecond}
	justEnough  = window{length: windowLength, waits: waitsMin, waited: 30 * time.Millisecond}
	cpuAlone    = seen(time.Microsecond, 0.9)
	inBetween   = seen(30*time.Microsecond, 0.8)
	lateAndIdle = window{length: 10 * windowLength, waits: 250, waited: 250 * time.Microsecond, cpu: windowLength}
)

func TestWindows(t *testing.T) {
	for name, c := range map[string]struct {
		w           window
		quiet, busy bool
	}{
		"idle":                             {idle, true, false},
		"a lone client":                    {loneClient, true, false},
		"ten clients":                      {tenClients, false, false},
		"gets of ten clients":              {tenGetters, false, true},
		"100 clients":                      {hundred, false, true},
		"1000 clients":                     {thousand, false, true},
		"a follower":                       {follower, true, false},
		"too few samples to say":           {fewButLong, true, false},
		"just enough samples":              {justEnough, false, true},
		"CPU that waits for nothing":       {cpuAlone, false, true},
		"neither":                          {inBetween, false, false},
		"a long window counts by its time": {lateAndIdle, true, false},
		"no time at all":                   {window{cpu: time.Second}, true, false},
	} {
		if c.w.quiet() != c.quiet || c.w.busy() != c.busy {
			t.Errorf("%s: quiet %v, busy %v; want %v, %v (mean wait %v, %.2f cores)", name, c.w.quiet(), c.w.busy(), c.quiet, c.busy, c.w.meanWait(), c.w.cores())
		}
	}
}

// TestDecisions feeds windows and compares the decisions: 1 is one processor,
// a is all.
func TestDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		windows []window
		want    string
	}{
		"nothing happens":                  {[]window{idle, idle, idle, idle}, "aa11"},
		"a lone client goes down":          {[]window{loneClient, loneClient, loneClient, loneClient}, "aa11"},
		"quiet windows must be in a row":   {[]window{idle, idle, tenClients, idle, idle, idle}, "aaaaa1"},
		"100 clients go up at once":        {[]window{idle, idle, idle, loneClient, hundred, hundred}, "aa11aa"},
		"CPU alone goes up":                {[]window{idle, idle, idle, cpuAlone}, "aa1a"},
		"in between changes nothing below": {[]window{idle, idle, idle, inBetween, inBetween}, "aa111"},
		"in between changes nothing above": {[]window{inBetween, inBetween, inBetween, inBetween}, "aaaa"},
		"busy from the beginning":          {[]window{thousand, thousand, thousand, thousand}, "aaaa"},
	} {
		p, got := policy{}, ""
		for _, w := range c.windows {
			if p.next(w) {
				got += "1"
			} else {
				got += "a"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// untilOne feeds quiet windows until the policy has one processor, and returns
// how long that took.
func untilOne(t *testing.T, p *policy) time.Duration {
	t.Helper()
	for took := windowLength; took < 2*holdMax; took += windowLength {
		if p.next(loneClient) {
			return took
		}
	}
	t.Fatal("it never goes down")
	return 0
}

// at one for so long, then busy.
func stayThenBusy(t *testing.T, p *policy, stay time.Duration) {
	t.Helper()
	for past := windowLength; past < stay; past += windowLength {
		if !p.next(loneClient) {
			t.Fatalf("it goes up after %v at one with a lone client", past)
		}
	}
	if p.next(hundred) {
		t.Fatal("it stays at one with 100 clients")
	}
}

func TestFlappingBacksOff(t *testing.T) {
	p := policy{}
	if took := untilOne(t, &p); took != quietInARow*windowLength {
		t.Fatalf("the first time down took %v", took)
	}
	for i, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		stayThenBusy(t, &p, time.Second)
		if took := untilOne(t, &p); took != want*time.Second {
			t.Fatalf("after %d times up it went down after %v, want %v", i+1, took, want*time.Second)
		}
	}
}

func TestHoldAfterTimeAtOne(t *testing.T) {
	for _, c := range []struct{ stay, want time.Duration }{
		{soon - windowLength, 8 * time.Second},
		{soon, 4 * time.Second},
		{forgetAfter - windowLength, 4 * time.Second},
		{forgetAfter, holdMin},
	} {
		p := policy{}
		untilOne(t, &p)
		for range 2 {
			stayThenBusy(t, &p, time.Second)
			untilOne(t, &p)
		}
		stayThenBusy(t, &p, c.stay)
		if took := untilOne(t, &p); took != c.want {
			t.Errorf("busy after %v at one, then down after %v; want %v", c.stay, took, c.want)
		}
	}
}

// The hold has passed while the load went on, so only a few quiet windows are
// needed when it ends.
func TestHoldCountsWhileBusy(t *testing.T) {
	p := policy{}
	untilOne(t, &p)
	for range 100 {
		if p.next(thousand) {
			t.Fatal("one processor for 1000 clients")
		}
	}
	if took := untilOne(t, &p); took != quietInARow*windowLength {
		t.Fatalf("down %v after the load ended", took)
	}
}
