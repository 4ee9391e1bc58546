package verb

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		line  string
		words []string
		fault string
	}{
		{line: "", words: nil},
		{line: " \t\r\n", words: nil},
		{line: "put  key\tvalue ", words: []string{"put", "key", "value"}},
		{line: `put "a b" 'c d'`, words: []string{"put", "a b", "c d"}},
		{line: `"\x00\n\"" 'a\n'`, words: []string{"\x00\n\"", `a\n`}},
		{line: `a"b c"'d'e`, words: []string{"ab cde"}},
		{line: `"" ''`, words: []string{"", ""}},
		{line: "Ünï cödé", words: []string{"Ünï", "cödé"}},
		{line: `get "a`, fault: "not closed"},
		{line: `get 'a`, fault: "not closed"},
		{line: `get "\q"`, fault: "wrong escape"},
	} {
		words, err := Words(tc.line)
		switch {
		case tc.fault == "" && (err != nil || !slices.Equal(words, tc.words)):
			t.Errorf("%q: %q, %v; want %q", tc.line, words, err, tc.words)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%q: %q, error %v; want %q", tc.line, words, err, tc.fault)
		}
	}
}

// FuzzWords: whatever is quoted is one word, unchanged, wherever it stands.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"", "a", "a b", `"`, `'`, "\x00\xff\n", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := Words("get " + strconv.Quote(s) + " x")
		if want := []string{"get", s, "x"}; err != nil || !slices.Equal(words, want) {
			t.Errorf("%q, %v; want %q", words, err, want)
		}
		if words, err := Words(s); err == nil && strings.TrimSpace(s) != "" && len(words) == 0 && !strings.ContainsAny(s, "\v\f\u0085\u00a0") {
			t.Errorf("%q has no words", s)
		}
	})
}
