package linear

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestCheck: histories that are linearizable, and the same with one thing wrong.
func TestCheck(t *testing.T) {
	put := func(value string, call, ret int64, o Outcome) *Operation {
		return &Operation{Kind: Put, Key: "k", Value: value, Call: call, Return: ret, Outcome: o}
	}
	read := func(found string, call, ret int64) *Operation {
		return &Operation{Kind: Read, Key: "k", Found: found, Call: call, Return: ret, Outcome: Done}
	}
	cas := func(expected, value, found string, swapped bool, call int64) *Operation {
		return &Operation{Kind: CAS, Key: "k", Expected: expected, Value: value, Found: found, Swapped: swapped, Call: call, Return: call + 1, Outcome: Done}
	}
	for _, tc := range []struct {
		name    string
		history []*Operation
		want    porcupine.CheckResult
	}{
		{"a read of what was written", []*Operation{put("a", 1, 2, Done), read("a", 3, 4)}, porcupine.Ok},
		{"a lost write", []*Operation{put("a", 1, 2, Done), read("", 3, 4)}, porcupine.Illegal},
		{"a stale read", []*Operation{put("a", 1, 2, Done), put("b", 3, 4, Done), read("a", 5, 6)}, porcupine.Illegal},
		{"a read beside the write", []*Operation{put("a", 1, 2, Done), put("b", 3, 6, Done), read("a", 4, 5)}, porcupine.Ok},
		{"an unknown write that happened late", []*Operation{put("a", 1, 0, Unknown), read("", 3, 4), read("a", 5, 6)}, porcupine.Ok},
		{"one that happened and was undone", []*Operation{put("a", 1, 0, Unknown), read("a", 3, 4), read("", 5, 6)}, porcupine.Illegal},
		{"one that was not applied, and is seen", []*Operation{put("a", 1, 2, NotApplied), read("a", 3, 4)}, porcupine.Illegal},
		{"a swap", []*Operation{put("a", 1, 2, Done), cas("a", "b", "", true, 3), read("b", 5, 6)}, porcupine.Ok},
		{"two swaps of one value", []*Operation{put("a", 1, 2, Done), cas("a", "b", "", true, 3), cas("a", "c", "", true, 5)}, porcupine.Illegal},
		{"a swap refused for nothing", []*Operation{put("a", 1, 2, Done), cas("a", "b", "a", false, 3)}, porcupine.Illegal},
		{"an append applied twice", []*Operation{
			{Kind: Append, Key: "k", Value: "a", Call: 1, Return: 2, Outcome: Done}, read("aa", 3, 4)}, porcupine.Illegal},
	} {
		if got := Check(tc.history, time.Minute); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
