package shell

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		text  string
		words []string
		end   string
		fault string
	}{
		{text: ""},
		{text: "  # nothing"},
		{text: "set a\tb ", words: []string{"set", "a", "b"}},
		{text: `set my\ key it\'s`, words: []string{"set", "my key", "it's"}},
		{text: `a"b c"'d e'\f`, words: []string{"ab cd ef"}},
		{text: `"\x00\n\"'" '\n"'`, words: []string{"\x00\n\"'", `\n"`}},
		{text: `"" ''`, words: []string{"", ""}},
		{text: `a#b #c d`, words: []string{"a#b"}},
		{text: `a<<b '<<c'`, words: []string{"a<<b", "<<c"}},
		{text: "txn <<END", words: []string{"txn"}, end: "END"},
		{text: "txn <<END  # x", words: []string{"txn"}, end: "END"},
		{text: `back\`, words: []string{`back\`}},
		{text: "Ünï cödé", words: []string{"Ünï", "cödé"}},
		{text: "txn <<END x", fault: "end of a line"},
		{text: "txn <<", fault: "letters and digits"},
		{text: `get "a`, fault: "not closed"},
		{text: `get "a\"`, fault: "not closed"},
		{text: `get 'a`, fault: "not closed"},
		{text: `get "\q"`, fault: "escape"},
	} {
		l, err := split(tc.text)
		switch {
		case tc.fault == "" && (err != nil || !slices.Equal(l.texts(), tc.words) || l.end != tc.end):
			t.Errorf("%q: %q, end %q, %v; want %q", tc.text, l.texts(), l.end, err, tc.words)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%q: %q, error %v; want %q", tc.text, l.texts(), err, tc.fault)
		}
	}
}

// FuzzSplit: what quote wrote is read back unchanged, wherever it stands, and no
// line makes split panic.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "a", "a b", `"`, `'`, "it's \"so\"", "\x00\xff\n", "\\", "#", "<<A", "é", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := split("get " + quote(s) + " x")
		if want := []string{"get", s, "x"}; err != nil || !slices.Equal(l.texts(), want) {
			t.Errorf("%q: %q, %v", quote(s), l.texts(), err)
		}
		_, _ = split(s) // any text: an error at most
	})
}
