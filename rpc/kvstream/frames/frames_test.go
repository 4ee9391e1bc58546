package frames_test

import (
	"errors"
	"reflect"
	"testing"

	"raftkv/rpc/kvstream/frames"
)

func TestReads(t *testing.T) {
	var data []byte
	for _, key := range []string{"a", "", "long key"} {
		data = frames.AppendRead(data, []byte(key))
	}
	var got []string
	for len(data) > 0 {
		key, rest, err := frames.NextRead(data)
		if err != nil {
			t.Fatal(err)
		}
		got, data = append(got, string(key)), rest
	}
	if !reflect.DeepEqual(got, []string{"a", "", "long key"}) {
		t.Errorf("read %q", got)
	}
}

func TestReadResults(t *testing.T) {
	want := []frames.ReadResult{
		{Value: []byte("v"), CreateRevision: 1, ModRevision: 1 << 40, Version: 3, Lease: -1}, {}, {Refusal: 100},
	}
	var data []byte
	for i := range want {
		data = frames.AppendReadResult(data, &want[i])
	}
	for i := range want {
		var r frames.ReadResult
		rest, err := frames.NextReadResult(data, &r)
		if err != nil || !reflect.DeepEqual(r, want[i]) {
			t.Fatalf("result %d: %+v, %v", i, r, err)
		}
		data = rest
	}
	if len(data) > 0 {
		t.Errorf("left %x", data)
	}
}

// FuzzResults: no input makes a decoder panic or go on for ever.
func FuzzResults(f *testing.F) {
	f.Add([]byte{10, 4, 8, 3, 16, 5})
	f.Add([]byte{10, 2, 58, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := frames.NewWriteResults(data)
		for range 1000 { // one result may stand for any number
			if !w.More() {
				break
			}
			if _, err := w.Next(); err != nil {
				if !errors.Is(err, frames.ErrMalformed) {
					t.Fatal(err)
				}
				break
			}
		}
		var r frames.ReadResult
		for rest := data; len(rest) > 0; {
			var err error
			if rest, err = frames.NextReadResult(rest, &r); err != nil {
				if !errors.Is(err, frames.ErrMalformed) {
					t.Fatal(err)
				}
				break
			}
		}
	})
}
