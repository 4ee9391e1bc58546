package mvcc

import (
	"bytes"
	"fmt"
	"testing"

	"raftkv/statemachine/keys"
)

func versionOf(key string, revision int64, value string) *KeyValue {
	return &KeyValue{Key: []byte(key), Value: []byte(value), Revision: keys.Revision{Main: revision}, CreateRevision: 2, Version: revision - 1}
}

// learn reads a key so often that it is remembered.
func learn(h *Hot, key string, kv *KeyValue, revision int64) {
	for range 2 {
		if kv == nil {
			h.Offer([]byte(key), &KeyValue{}, false, revision)
		} else {
			h.Offer([]byte(key), kv, true, revision)
		}
	}
}

// knows compares what is known of a key: its value, "-" if it does not exist, "" if nothing is.
func knows(t *testing.T, h *Hot, key string, revision int64, want string) {
	t.Helper()
	kv, exists, known := h.Get([]byte(key), revision)
	got := ""
	switch {
	case known && exists:
		got = string(kv.Value)
	case known:
		got = "-"
	}
	if got != want || (exists && string(kv.Key) != key) {
		t.Errorf("%q at revision %d: %q, want %q", key, revision, got, want)
	}
}

func TestHotKnowsWhatViewsShow(t *testing.T) {
	h := NewHot(1 << 20)
	h.Offer([]byte("a"), versionOf("a", 5, "1"), true, 7)
	knows(t, h, "a", 7, "") // read once
	learn(h, "a", versionOf("a", 5, "1"), 7)
	learn(h, "b", nil, 7)
	knows(t, h, "a", 7, "1")
	knows(t, h, "a", 5, "1")
	knows(t, h, "a", 4, "") // it may have been another one
	knows(t, h, "b", 8, "-")
	knows(t, h, "b", 6, "")
	h.Changed("a", 9)
	h.Changed("b", 9)
	knows(t, h, "a", 9, "")
	knows(t, h, "b", 9, "")
	learn(h, "a", versionOf("a", 5, "1"), 8) // by a reader whose view is older
	learn(h, "b", nil, 8)
	knows(t, h, "a", 9, "")
	knows(t, h, "b", 9, "")
	learn(h, "a", versionOf("a", 9, "2"), 9)
	knows(t, h, "a", 9, "2")
	knows(t, h, "a", 8, "")

	var none *Hot
	learn(none, "a", versionOf("a", 5, "1"), 7)
	none.Changed("a", 9)
	knows(t, none, "a", 9, "")
	if NewHot(0) != nil {
		t.Error("one that may take nothing is made")
	}
}

// TestHotOwnsWhatItKnows: the reader's memory is its own again.
func TestHotOwnsWhatItKnows(t *testing.T) {
	h := NewHot(1 << 20)
	key, kv := []byte("a"), versionOf("a", 5, "1")
	for range 2 {
		h.Offer(key, kv, true, 7)
	}
	key[0], kv.Key[0], kv.Value[0] = 'x', 'x', 'x'
	knows(t, h, "a", 7, "1")
}

func TestHotIsBounded(t *testing.T) {
	const bytesMax = 1 << 20
	h := NewHot(bytesMax)
	used := func() (total, entries int) {
		for i := range h.shards {
			young := 0
			for _, m := range []map[string]hotEntry{h.shards[i].old, h.shards[i].young} {
				young = 0
				for key, e := range m {
					young += int(h.size(len(key), len(e.kv.Value)))
					entries++
				}
				total += young
			}
			if int64(young) != h.shards[i].youngBytes {
				t.Fatalf("shard %d counts %d young bytes, not %d", i, h.shards[i].youngBytes, young)
			}
		}
		return total, entries
	}
	for i := range 20_000 {
		key := fmt.Sprint(i)
		learn(h, key, versionOf(key, 5, "0123456789"), 7)
		knows(t, h, key, 7, "0123456789")
		if i%3 == 0 {
			h.Changed(fmt.Sprint(i/2), 7)
		}
		h.Get([]byte(fmt.Sprint(i/2)), 7) // from the old generation to the young one
	}
	if total, entries := used(); total > bytesMax || entries < 1000 {
		t.Errorf("%d entries of %d bytes", entries, total)
	}
	big := versionOf("big", 5, string(bytes.Repeat([]byte("x"), bytesMax/hotShards)))
	learn(h, "big", big, 7)
	knows(t, h, "big", 7, "")
	for i := range 20_000 { // a walk through keys that nobody reads again
		h.Offer(fmt.Append(nil, "walk", i), versionOf("", 5, ""), true, 7)
	}
	if _, entries := used(); entries < 1000 {
		t.Errorf("a walk left %d entries", entries)
	}
}
