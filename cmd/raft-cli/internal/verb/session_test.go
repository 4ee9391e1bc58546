package verb

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// TestPrefixEnd: a key has the prefix exactly if it lies between the prefix and
// its end.
func TestPrefixEnd(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	random := func() []byte { // few different bytes, so that prefixes are met
		b := make([]byte, 1+rng.IntN(4))
		for i := range b {
			b[i] = []byte{0, 'a', 0xfe, 0xff}[rng.IntN(4)]
		}
		return b
	}
	matched := 0
	for range 20_000 {
		prefix, key := random(), random()
		end := prefixEnd(prefix)
		in := bytes.Compare(key, prefix) >= 0 && (bytes.Equal(end, []byte{0}) || bytes.Compare(key, end) < 0)
		has := bytes.HasPrefix(key, prefix)
		if in != has {
			t.Fatalf("seed %d: key %q, prefix %q with end %q: in the range %v, has the prefix %v", seed, key, prefix, end, in, has)
		}
		if has {
			matched++
		}
	}
	if matched < 100 {
		t.Errorf("only %d keys had their prefix", matched)
	}
}

func TestGetCall(t *testing.T) {
	for key, want := range map[string]string{
		"name":      "raft-cli get -w json name",
		"/a/b.c_d":  "raft-cli get -w json /a/b.c_d",
		"two words": "raft-cli get -w json -- 'two words'",
		"-k":        "raft-cli get -w json -- '-k'",
		"it's":      `raft-cli get -w json -- 'it'\''s'`,
		"$HOME":     "raft-cli get -w json -- '$HOME'",
		"a\nb":      "raft-cli get -w json --hex 610a62",
		"\xff":      "raft-cli get -w json --hex ff",
	} {
		if got := (&Session{}).getCall([]byte(key)); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{failure(errors.New("refused")), 1},
		{failure(usagef("wrong")), 2},
		{errors.New("unknown flag"), 2},
		{errors.Join(nil, &Failure{errors.New("closing")}), 1},
	} {
		if got := ExitCode(tc.err); got != tc.want {
			t.Errorf("%v: exit code %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestLongBytesAreShortenedInMessages(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 100)
	if got := (&Session{}).quote(long); len(got) > 80 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}
