package oracle

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Flags of a longer run: go test . -run 'TestSeeds$' -seeds=50 -ops=4000
var (
	seedsFlag = flag.Int("seeds", 6, "number of seeds to run")
	startFlag = flag.Uint64("start", 1, "first seed")
	opsFlag   = flag.Int("ops", 1000, "operations per seed")
	// Every attempt starts a pair of members.
	shrinkFlag = flag.Int("shrink", 40, "attempts to shorten a program that differs; 0 prints the seed only")
)

func startPair(t *testing.T) *Oracle {
	t.Helper()
	o, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// served makes requests that raft-kv serves, which is all there are.
func served(seed uint64) *Generator { return NewGenerator(seed) }

// TestSeeds asks random operations. A seed's failure names the command that
// repeats it.
func TestSeeds(t *testing.T) {
	tally := NewTally()
	t.Run("seeds", func(t *testing.T) {
		for i := range *seedsFlag {
			seed := *startFlag + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				asked, d := startPair(t).Run(t.Context(), served(seed), *opsFlag, tally)
				if d != nil {
					t.Error(report(seed, len(asked), d)) // now: to shorten it takes long
					t.Log(shrunk(t, asked, d))
				}
			})
		}
	})
	t.Logf("asked:\n%s", tally)
	if !t.Failed() && *seedsFlag**opsFlag >= 5000 {
		checkTally(t, tally)
	}
}

// report is all that is needed to look at a difference and to see it again.
func report(seed uint64, number int, d *Difference) string {
	return fmt.Sprintf("seed %d, operation %d differs:\n%s\nreplay, in test/oracle: go test . -run 'TestSeeds$' -count=1 -start=%d -seeds=1 -ops=%d",
		seed, number, d, seed, number)
}

// checkTally demands that the run was about something.
func checkTally(t *testing.T, tally *Tally) {
	for m, percentDone := range map[Method]int{Range: 80, RangeStream: 70, Put: 85, DeleteRange: 93, Txn: 55, Compact: 40,
		HashKV: 75, Alarm: 100, Defragment: 100, Status: 100, Watch: 100, WatchClose: 100,
		LeaseGrant: 25, LeaseRevoke: 35, LeaseTimeToLive: 100, LeaseLeases: 100, LeaseKeepAlive: 100} {
		asked, done := tally.Done(m)
		if asked == 0 || done*100 < asked*percentDone {
			t.Errorf("%d of %d %s succeeded, fewer than %d %%", done, asked, m, percentDone)
		}
	}
	for _, text := range []string{
		"key is not provided", "value is provided", "lease is provided", "key not found", "requested lease not found",
		"too many operations", "duplicate key", "required revision has been compacted", "required revision is a future revision",
		"invalid sort option", "request is too large", "received message larger than max",
		"database space exceeded", "corrupt cluster", "does not support custom sort orders", "does not support revision filters",
		"lease already exists", "too large lease TTL",
		"watch: compacted", "watch: etcdserver: mvcc: required revision has been compacted",
		"watch: mvcc: duplicate watch ID", "watch: mvcc: watcher range is empty",
	} {
		if tally.Refused(text) == 0 {
			t.Errorf("nothing was refused with %q", text)
		}
	}
	if events, previous := tally.Events(); events < 1500 || previous < 200 {
		t.Errorf("watches brought %d events, %d with the previous key value", events, previous)
	}
}

// shrunk is the text of a short program that still differs.
func shrunk(t *testing.T, asked []Operation, d *Difference) string {
	if *shrinkFlag == 0 {
		return ""
	}
	short := Shrink(asked, *shrinkFlag, func(program []Operation) bool { return differs(t, program, d.etcdCrashed()) })
	var text bytes.Buffer
	if err := WriteProgram(&text, short); err != nil {
		t.Error(err)
	}
	const shown = 100_000 // a longer one is better replayed from its seed
	if text.Len() > shown {
		text.Truncate(shown)
		text.WriteString("… cut")
	}
	return fmt.Sprintf("%d operations that still differ, in the form of testdata/*.jsonl:\n%s", len(short), text.String())
}

// differs tells whether fresh members answer the last operation of a program
// differently, and only that; etcd crashes over it or does not.
func differs(t *testing.T, program []Operation, crashes bool) bool {
	o, err := Start(t.Context())
	if err != nil {
		t.Errorf("shrinking: %v", err)
		return false
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Errorf("shrinking: %v", err)
		}
	}()
	index, d := o.Replay(t.Context(), program)
	return d != nil && index == len(program)-1 && d.etcdCrashed() == crashes
}

// TestPrograms replays the programs that are kept.
func TestPrograms(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no programs in testdata: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			program, err := ReadProgram(f)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if index, d := startPair(t).Replay(t.Context(), program); d != nil {
				t.Errorf("%s, operation %d:\n%s", path, index+1, d)
			}
		})
	}
}

// TestSameSeedSameQuestions: a replay is only as good as this.
func TestSameSeedSameQuestions(t *testing.T) {
	var programs [2]bytes.Buffer
	for i := range programs {
		// A difference, which TestSeeds reports, would end both at the same place.
		asked, _ := startPair(t).Run(t.Context(), served(99), 300, NewTally())
		if err := WriteProgram(&programs[i], asked); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(programs[0].Bytes(), programs[1].Bytes()) {
		t.Error("seed 99 asked different questions the second time")
	}
}
