package e2e

import (
	"crypto/sha256"
	"maps"
	"strings"
	"testing"
)

// TestBooksFindFaults plants faults into a state and expects the books to find
// each: tests that compare 50,000 keys must not pass because they compare
// nothing.
func TestBooksFindFaults(t *testing.T) {
	rec := func(revision int64) record {
		return record{created: revision, modified: revision, version: 1, valueBytes: 1, valueSHA256: sha256.Sum256([]byte("v"))}
	}
	good := func() (state, map[int64][]string, *books) {
		s := state{revision: 4, records: map[string]record{"a": rec(2), "b": rec(3), "c": rec(4)}}
		b := &books{acks: map[string]ack{}}
		for key, r := range s.records {
			b.acks[key] = ack{key, r.modified, 1, sum("v"), 1}
		}
		return s, map[int64][]string{2: {"a"}, 3: {"b"}, 4: {"c"}}, b
	}
	for _, tc := range []struct {
		name  string
		plant func(s *state, byRevision map[int64][]string, b *books)
		want  string // in the one fault found, "" for none
	}{
		{"nothing", func(*state, map[int64][]string, *books) {}, ""},
		{"a lost write", func(s *state, _ map[int64][]string, _ *books) { delete(s.records, "b") }, "is lost"},
		{"another value", func(s *state, _ map[int64][]string, _ *books) {
			r := s.records["b"]
			r.valueSHA256[0]++
			s.records["b"] = r
		}, "others than"},
		{"another revision", func(_ *state, _ map[int64][]string, b *books) {
			a := b.acks["b"]
			a.Revision = 4
			b.acks["b"] = a
		}, "at revision 4, where"},
		{"a write applied twice", func(s *state, _ map[int64][]string, _ *books) {
			r := s.records["b"]
			r.version = 2
			s.records["b"] = r
		}, "has version 2"},
		{"a key from nowhere", func(s *state, _ map[int64][]string, _ *books) { s.records["x"] = rec(4) }, "nobody wrote it"},
		{"a revision given twice", func(_ *state, byRevision map[int64][]string, _ *books) {
			byRevision[2] = append(byRevision[2], "c")
		}, "was given to"},
		{"a hole", func(s *state, _ map[int64][]string, _ *books) { s.revision = 5 }, "nothing was written at revision 5"},
		{"a revision beyond the last", func(s *state, _ map[int64][]string, _ *books) { s.revision = 3 }, "the last is 3"},
	} {
		s, byRevision, b := good()
		tc.plant(&s, byRevision, b)
		faults := append(b.audit(s, byRevision), holes(s.revision, byRevision)...)
		switch {
		case tc.want == "" && len(faults) == 0:
		case tc.want != "" && len(faults) == 1 && strings.Contains(faults[0].Error(), tc.want):
		default:
			t.Errorf("%s: found %v, want one fault with %q", tc.name, faults, tc.want)
		}
	}
}

// TestCompareFindsDifferences does the same for the comparison of nodes.
func TestCompareFindsDifferences(t *testing.T) {
	a := state{revision: 3, records: map[string]record{"a": {modified: 2}, "b": {modified: 3}}}
	for name, change := range map[string]func(*state){
		"revision": func(s *state) { s.revision++ },
		"record":   func(s *state) { s.records["a"] = record{modified: 3} },
		"missing":  func(s *state) { delete(s.records, "a") },
		"surplus":  func(s *state) { s.records["c"] = record{} },
	} {
		b := state{revision: a.revision, records: maps.Clone(a.records)}
		if faults := compare("two", a, b); len(faults) > 0 {
			t.Fatalf("equal states differ: %v", faults)
		}
		change(&b)
		if faults := compare("two", a, b); len(faults) != 1 {
			t.Errorf("%s: found %v", name, faults)
		}
	}
}
