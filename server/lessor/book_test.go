package lessor

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"raftkv/statemachine"
)

const (
	grace = time.Second
	retry = 7 * time.Second
	every = 5 * time.Minute
)

func testBook(now time.Time) *Book {
	b := NewBook(now, BookConfig{Grace: grace, RetryInterval: retry, CheckpointInterval: every})
	b.Loaded()
	return b
}

func granted(id, ttl int64) statemachine.LeaseChange {
	return statemachine.LeaseChange{Lease: statemachine.Lease{ID: id, TTLSeconds: ttl}, Granted: true}
}

func gone(id int64) statemachine.LeaseChange {
	return statemachine.LeaseChange{Lease: statemachine.Lease{ID: id}, Gone: true}
}

// model is a book without queues.
type model struct {
	deadline map[int64]time.Time
	ttl      map[int64]int64
	again    map[int64]time.Time // of those given out as expired
}

// TestBookAgainstModel compares random histories with a book that looks at
// every lease every time.
func TestBookAgainstModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			now := time.Unix(0, 0)
			b, m := testBook(now), model{map[int64]time.Time{}, map[int64]int64{}, map[int64]time.Time{}}
			expired, renewed := 0, 0
			for range 20_000 {
				id := r.Int64N(60) - 5
				_, known := m.ttl[id]
				switch n := r.IntN(100); {
				case n < 20 && !known:
					ttl := 1 + r.Int64N(40)
					b.Change(now, granted(id, ttl))
					m.ttl[id], m.deadline[id] = ttl, now.Add(time.Duration(ttl)*time.Second)
				case n < 35 && known:
					b.Change(now, gone(id))
					delete(m.ttl, id)
					delete(m.again, id)
				case n < 60:
					_, doomed := m.again[id]
					want := Live
					switch {
					case !known:
						want = Unknown
					case doomed || !m.deadline[id].After(now):
						want = Expiring
					default:
						renewed++
						m.deadline[id] = now.Add(time.Duration(m.ttl[id]) * time.Second)
					}
					if ttl, got := b.Renew(now, id); got != want || (got == Live && ttl != m.ttl[id]) {
						t.Fatalf("renewing %d: %d s, state %d, want state %d", id, ttl, got, want)
					}
				case n < 80:
					now = now.Add(time.Duration(r.IntN(1500)) * time.Millisecond)
				default:
					want := m.expired(now)
					if b.AnyExpired(now) != (len(want) > 0) {
						t.Fatalf("any expired: %t, want %v", b.AnyExpired(now), want)
					}
					got := b.Expired(now, 1000)
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Fatalf("expired %v, want %v", got, want)
					}
					expired += len(got)
				}
				if b.Len() != len(m.ttl) {
					t.Fatalf("%d leases, want %d", b.Len(), len(m.ttl))
				}
			}
			if expired < 500 || renewed < 500 {
				t.Fatalf("%d expired, %d renewed: the test exercises too little", expired, renewed)
			}
		})
	}
}

func (m *model) expired(now time.Time) (ids []int64) {
	for id := range m.ttl {
		if again, doomed := m.again[id]; m.deadline[id].After(now) || doomed && again.After(now) {
			continue
		}
		ids = append(ids, id)
		m.again[id] = now.Add(retry)
	}
	slices.Sort(ids)
	return ids
}

// TestBookLoads: what happens while the state is read counts, not what the
// reading finds later.
func TestBookLoads(t *testing.T) {
	now := time.Unix(0, 0)
	b := NewBook(now, BookConfig{Grace: grace, RetryInterval: retry, CheckpointInterval: every})
	b.Change(now, gone(1))
	b.Change(now, granted(2, 10))
	b.Change(now, statemachine.LeaseChange{Lease: statemachine.Lease{ID: 3, TTLSeconds: 4000, RemainingSeconds: 50}})
	b.Change(now, gone(4))
	b.Change(now, granted(4, 5))
	for id := range int64(6) {
		b.Load(now, statemachine.Lease{ID: id, TTLSeconds: 100})
	}
	b.Loaded()
	for id, want := range map[int64]time.Duration{
		0: 101 * time.Second, 2: 10 * time.Second, 3: 51 * time.Second, 4: 5 * time.Second, 5: 101 * time.Second,
	} {
		if left, _, state := b.Left(now, id); state != Live || left != want {
			t.Errorf("lease %d: %v left (state %d), want %v", id, left, state, want)
		}
	}
	if _, _, state := b.Left(now, 1); state != Unknown {
		t.Errorf("a lease that ended while the book was loading: state %d", state)
	}
}

// TestBookLongest: the longest time to live neither overflows nor expires.
func TestBookLongest(t *testing.T) {
	now := time.Now()
	b := testBook(now)
	b.Change(now, granted(1, 9_000_000_000))
	later := now.Add(100 * 365 * 24 * time.Hour)
	if b.AnyExpired(later) {
		t.Fatal("expired after a hundred years")
	}
	if _, state := b.Renew(later, 1); state != Live {
		t.Fatalf("state %d", state)
	}
	if left, _, _ := b.Left(later, 1); left < 284*365*24*time.Hour {
		t.Fatalf("%v left", left)
	}
}

// TestBookRecords: long leases are recorded once an interval has passed, and
// those that are renewed all the time are not.
func TestBookRecords(t *testing.T) {
	now := time.Unix(0, 0)
	b := testBook(now)
	b.Change(now, granted(1, 3600)) // left alone
	b.Change(now, granted(2, 3600)) // renewed
	b.Change(now, granted(3, 300))  // not longer than the interval
	var got []string
	for minute := 1; minute <= 16; minute++ {
		now = now.Add(time.Minute)
		if _, state := b.Renew(now, 2); state != Live {
			t.Fatalf("state %d", state)
		}
		for _, r := range b.Due(now, 10) {
			got = append(got, fmt.Sprintf("%d min: lease %d has %d s", minute, r.ID, r.Seconds))
			b.Change(now, statemachine.LeaseChange{Lease: statemachine.Lease{ID: r.ID, TTLSeconds: 3600, RemainingSeconds: r.Seconds}})
		}
	}
	want := []string{"5 min: lease 1 has 3300 s", "10 min: lease 1 has 3000 s", "15 min: lease 1 has 2700 s"}
	if !slices.Equal(got, want) {
		t.Fatalf("recorded %v, want %v", got, want)
	}
	if _, state := b.Renew(now, 1); state != Recorded {
		t.Fatalf("renewed with a record: state %d", state)
	}
	b.Change(now, statemachine.LeaseChange{Lease: statemachine.Lease{ID: 1, TTLSeconds: 3600}})
	if ttl, state := b.Renew(now, 1); state != Live || ttl != 3600 {
		t.Fatalf("%d s, state %d", ttl, state)
	}
}

// TestBookForgets: leases that come and go leave nothing behind.
func TestBookForgets(t *testing.T) {
	now := time.Unix(0, 0)
	b := testBook(now)
	for id := range int64(100) {
		b.Change(now, granted(-1-id, 9000))
	}
	for id := range int64(200_000) {
		b.Change(now, granted(id%1000, 9000))
		b.Change(now, gone(id%1000))
	}
	if n := len(b.expiries) + len(b.records); n > 4*tidyMin {
		t.Fatalf("%d entries of queues for %d leases", n, b.Len())
	}
	now = now.Add(9001 * time.Second)
	if n := len(b.Expired(now, 1000)); n != 100 {
		t.Fatalf("%d expired, want 100", n)
	}
}

// TestBookBytes bounds what a lease costs the leader's memory.
func TestBookBytes(t *testing.T) {
	const leases = 1_000_000
	now := time.Now()
	b := testBook(now)
	before := heapBytes()
	for id := range int64(leases) {
		b.Change(now, granted(id*7919, 60))
	}
	perLease := float64(heapBytes()-before) / leases
	t.Logf("%.0f bytes a lease", perLease)
	if perLease > 160 {
		t.Fatalf("%.0f bytes a lease", perLease)
	}
	runtime.KeepAlive(b)
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestBookConfirmation: a confirmation ends with its time by either clock, and
// an older one does not replace a newer.
func TestBookConfirmation(t *testing.T) {
	now := time.Now()
	b := testBook(now)
	b.Change(now, granted(1, 60))
	renews := func(at time.Time) bool { _, ok := b.RenewNow(at, 1); return ok }
	if renews(now) {
		t.Fatal("renewed, and nothing was confirmed")
	}
	b.Confirmed(now)
	b.Confirmed(now.Add(-time.Hour))
	for _, c := range []struct {
		at   time.Time
		want bool
	}{
		{now, true},
		{now.Add(grace/2 - 1), true},
		{now.Add(grace / 2), false},
		{now.Round(0).Add(grace / 4), true},
		{now.Round(0).Add(-grace), false}, // the clock on the wall was set back
	} {
		if got := renews(c.at); got != c.want {
			t.Errorf("%v later: renewed: %t", c.at.Sub(now), got)
		}
	}
	// Loading: what is missing may just not have been read.
	b = NewBook(now, BookConfig{Grace: grace, RetryInterval: retry, CheckpointInterval: every})
	b.Change(now, granted(1, 60))
	b.Confirmed(now)
	if renews(now) {
		t.Error("renewed while loading")
	}
}

// TestBookRecordUnderWay: a lease that is renewed while what is left of it is
// being recorded gets its whole time only with the record withdrawn.
func TestBookRecordUnderWay(t *testing.T) {
	now := time.Unix(0, 0)
	b := testBook(now)
	b.Change(now, granted(1, 3600))
	now = now.Add(every)
	if due := b.Due(now, 10); len(due) != 1 || due[0].Seconds != 3300 {
		t.Fatalf("due: %v", due)
	}
	if _, state := b.Renew(now, 1); state != Recorded {
		t.Fatalf("renewed while it is being recorded: state %d", state)
	}
}
