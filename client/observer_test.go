package client

import (
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestObserverTellsEachChangeOfTheFirstOnce: whoever has the oldest key is first,
// nobody is told of before there was anybody, and what does not concern the first
// is not told.
func TestObserverTellsEachChangeOfTheFirstOnce(t *testing.T) {
	var told []string
	o := &observer{told: -1, queue: map[string]*mvccpb.KeyValue{}, first: func(_ Answer, kv *mvccpb.KeyValue) error {
		told = append(told, string(kv.GetValue()))
		return nil
	}}
	put := func(key, value string, created, modified int64) {
		o.queue[key] = &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: created, ModRevision: modified}
	}
	for _, step := range []func(){
		func() {},
		func() { put("n/1", "one", 2, 2) },
		func() { put("n/2", "two", 3, 3) },
		func() { put("n/2", "two again", 3, 4) },
		func() { put("n/1", "one again", 2, 5) },
		func() { delete(o.queue, "n/1") },
		func() { put("n/1", "one is back", 6, 6) },
		func() { delete(o.queue, "n/2") },
		func() { delete(o.queue, "n/1") },
	} {
		step()
		if err := o.tell(Answer{}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"", "one", "one again", "two again", "one is back", ""}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, not %q", told, want)
	}
}
