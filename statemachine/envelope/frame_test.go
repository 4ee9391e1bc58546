package envelope_test

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"raftkv/statemachine/envelope"
)

func everyWrite() []envelope.Write {
	return []envelope.Write{
		{Op: envelope.WritePut, Key: []byte("k"), Value: []byte("v"), Lease: -3},
		{Op: envelope.WritePut},
		{Op: envelope.WriteAppend, Key: []byte("k"), Value: []byte("more")},
		{Op: envelope.WriteDelete, Key: []byte("a"), RangeEnd: []byte{0}},
		{Op: envelope.WriteCompareAndSwap, Key: []byte("k"), Value: []byte("v"), ByValue: true, Expected: []byte("old"), Lease: 4},
		{Op: envelope.WriteCompareAndSwap, Key: []byte("k"), ByValue: true, Expected: []byte{}},
		{Op: envelope.WriteCompareAndSwap, Key: []byte("k"), Value: []byte("v"), ExpectedRevision: 1 << 40},
		{Op: envelope.WriteCompareAndSwap, Key: []byte("k"), Value: []byte("v")},
		{Op: envelope.WriteIncrement, Key: []byte("n"), Delta: -1},
		{Op: envelope.WriteIncrement, Key: []byte("n"), Delta: math.MinInt64},
		{Op: envelope.WriteTxn, Txn: []byte("a transaction")},
		{Op: envelope.WriteRefused, Refusal: 300},
	}
}

func sampleWrites() (b []byte) {
	for _, w := range everyWrite() {
		b = envelope.AppendWrite(b, &w)
	}
	return b
}

func TestFrameRoundTrip(t *testing.T) {
	want := envelope.Frame{Acknowledged: 1 << 50, Writes: sampleWrites()}
	e, err := envelope.Decode(envelope.Pack(envelope.Envelope{}, [][]byte{
		envelope.EncodeFrame(envelope.Command{Kind: 99, User: "u", AuthRevision: 2, Session: 3, Sequence: 4, Body: []byte("ignored")}, want)}))
	if err != nil {
		t.Fatal(err)
	}
	c := e.Commands[0]
	if c.Kind != envelope.KindFrame || c.User != "u" || c.AuthRevision != 2 || c.Session != 3 || c.Sequence != 4 {
		t.Errorf("decoded %+v", c)
	}
	got, err := envelope.DecodeFrame(c.Body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	rest := got.Writes
	for _, want := range everyWrite() {
		var w envelope.Write
		before := len(rest)
		if rest, err = envelope.NextWrite(rest, &w); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(w, want) {
			t.Errorf("decoded %+v, want %+v", w, want)
		}
		if taken := before - len(rest); taken > envelope.WriteSize(&w) {
			t.Errorf("%+v takes %d bytes, said to be %d at most", w, taken, envelope.WriteSize(&w))
		}
	}
	if len(rest) > 0 {
		t.Errorf("left %x", rest)
	}
}

func TestNextWriteRefuses(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":                {},
		"another field":          {18, 0},
		"another type":           {8, 1},
		"cut off":                {10, 5, 10},
		"no operation":           {10, 0},
		"operation 7":            {10, 2, 58, 0},
		"operation 16":           {10, 3, 130, 1, 0},
		"two operations":         {10, 4, 10, 0, 10, 0},
		"operation as a number":  {10, 2, 8, 1},
		"refusal as a message":   {10, 2, 122, 0},
		"refusal and more":       {10, 3, 120, 1, 1},
		"put with field 4":       {10, 4, 10, 2, 32, 1},
		"put with a number key":  {10, 4, 10, 2, 8, 1},
		"append with a lease":    {10, 4, 18, 2, 24, 1},
		"delete with a number":   {10, 4, 26, 2, 16, 1},
		"increment by a message": {10, 4, 42, 2, 18, 0},
		"key cut off":            {10, 4, 10, 2, 10, 1},
		"fixed field":            {10, 7, 10, 5, 29, 0, 0, 0, 0},
	} {
		var w envelope.Write
		if rest, err := envelope.NextWrite(data, &w); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("%s: %+v, rest %x, %v", name, w, rest, err)
		}
	}
}

// FuzzNextWrite: no input panics, and what is taken survives a round trip.
func FuzzNextWrite(f *testing.F) {
	f.Add(sampleWrites())
	f.Add([]byte{10, 2, 58, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var w, again envelope.Write
		for len(data) > 0 {
			rest, err := envelope.NextWrite(data, &w)
			if err != nil {
				if !errors.Is(err, envelope.ErrMalformed) {
					t.Fatalf("error %v does not wrap ErrMalformed", err)
				}
				return
			}
			if len(rest) >= len(data) {
				t.Fatal("nothing was read")
			}
			data = rest
			left, err := envelope.NextWrite(envelope.AppendWrite(nil, &w), &again)
			if err != nil || len(left) > 0 {
				t.Fatalf("%+v cannot be read back: %v", w, err)
			}
			normalize(&w)
			normalize(&again)
			if !reflect.DeepEqual(again, w) {
				t.Fatalf("decoded %+v, then %+v", w, again)
			}
		}
	})
}

// normalize makes empty slices alike.
func normalize(w *envelope.Write) {
	for _, b := range []*[]byte{&w.Key, &w.Value, &w.RangeEnd, &w.Expected, &w.Txn} {
		if len(*b) == 0 {
			*b = nil
		}
	}
	if w.ByValue {
		w.ExpectedRevision = 0
	} else {
		w.Expected = nil
	}
}
