package keys_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"

	"raftkv/statemachine/keys"
)

// TestGolden pins the encoding on disk: a difference here is a format change.
func TestGolden(t *testing.T) {
	datadriven.RunTest(t, "testdata/golden.txt", func(t *testing.T, d *datadriven.TestData) string {
		var name string
		var main, sub uint64
		scan := func() {
			d.ScanArgs(t, "key", &name)
			d.ScanArgs(t, "main", &main)
			d.MaybeScanArgs(t, "sub", &sub)
		}
		var key []byte
		switch d.Cmd {
		case "prefix":
			d.ScanArgs(t, "key", &name)
			key = keys.AppendPrefix(nil, []byte(name))
		case "version":
			scan()
			key = keys.AppendVersion(nil, []byte(name), keys.Revision{Main: int64(main), Sub: uint32(sub)})
		case "seek":
			scan()
			key = keys.AppendSeek(nil, []byte(name), int64(main))
		case "revision":
			d.ScanArgs(t, "main", &main)
			d.MaybeScanArgs(t, "sub", &sub)
			key = keys.AppendRevision(nil, keys.Revision{Main: int64(main), Sub: uint32(sub)})
		case "run":
			d.ScanArgs(t, "main", &main)
			d.MaybeScanArgs(t, "sub", &sub)
			key = keys.AppendRun(nil, keys.Revision{Main: int64(main), Sub: uint32(sub)})
		case "named":
			d.ScanArgs(t, "key", &name)
			key = keys.Named(keys.Meta, name)
		case "numbered":
			d.ScanArgs(t, "main", &main)
			key = keys.Numbered(keys.Members, main)
		case "lease":
			scan()
			key = keys.LeaseKey(int64(main), []byte(name))
		case "bounds":
			var out string
			for _, table := range keys.All() {
				lower, upper := keys.Bounds(table)
				out += fmt.Sprintf("%c [%x, %x)\n", table, lower, upper)
			}
			return out
		}
		if err := keys.Check(key); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%x", key)
	})
}

// TestOrder compares the comparer's order with the order of (user key
// ascending, revision descending), and decodes what was encoded.
func TestOrder(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	random := func() ([]byte, keys.Revision) {
		k := make([]byte, r.IntN(4))
		for i := range k {
			k[i] = []byte{0, 1, 9, 13, 'a', 0xff}[r.IntN(6)]
		}
		return k, keys.Revision{Main: 1 + r.Int64N(3), Sub: uint32(r.IntN(3))}
	}
	for range 20_000 {
		ka, ra := random()
		kb, rb := random()
		a, b := keys.AppendVersion(nil, ka, ra), keys.AppendVersion(nil, kb, rb)
		want := bytes.Compare(ka, kb)
		if want == 0 {
			switch {
			case ra.Main != rb.Main:
				want = sign(rb.Main - ra.Main)
			case ra.Sub != rb.Sub:
				want = sign(int64(rb.Sub) - int64(ra.Sub))
			}
		}
		if got := cockroachkvs.Compare(a, b); got != want {
			t.Fatalf("Compare(%q@%v, %q@%v) = %d, want %d", ka, ra, kb, rb, got, want)
		}
		if len(a) != keys.VersionLen(len(ka), ra) {
			t.Fatalf("VersionLen(%q, %v) = %d, want %d", ka, ra, keys.VersionLen(len(ka), ra), len(a))
		}
		if err := keys.Check(a); err != nil {
			t.Fatal(err)
		}
		k, rev, err := keys.DecodeVersion(a)
		if err != nil || !bytes.Equal(k, ka) || rev != ra {
			t.Fatalf("decoded %q@%v as %q@%v, %v", ka, ra, k, rev, err)
		}
		if seek := keys.AppendSeek(nil, ka, ra.Main); cockroachkvs.Compare(seek, a) >= 0 {
			t.Fatalf("seek key of %q@%v does not sort before it", ka, ra)
		}
		if prefix := keys.AppendPrefix(nil, ka); cockroachkvs.Compare(prefix, a) >= 0 {
			t.Fatalf("prefix of %q does not sort before its versions", ka)
		}
	}
}

func sign(v int64) int {
	if v < 0 {
		return -1
	}
	return 1
}

func TestRecords(t *testing.T) {
	rev := keys.Revision{Main: 1 << 40, Sub: 7}
	one, run := keys.AppendRevision(nil, rev), keys.AppendRun(nil, rev)
	if got, isRun, err := keys.DecodeRevision(one); err != nil || got != rev || isRun || len(one) != keys.RevisionLen {
		t.Fatalf("decoded %v, %t, %v", got, isRun, err)
	}
	if got, isRun, err := keys.DecodeRevision(run); err != nil || got != rev || !isRun || len(run) != keys.RunLen {
		t.Fatalf("decoded %v, %t, %v", got, isRun, err)
	}
	next := keys.AppendRevision(nil, keys.Revision{Main: rev.Main, Sub: rev.Sub + 1})
	if cockroachkvs.Compare(one, run) >= 0 || cockroachkvs.Compare(run, next) >= 0 || keys.Check(run) != nil {
		t.Fatalf("%x does not lie between %x and %x", run, one, next)
	}
	if got, err := keys.Number(keys.Numbered(keys.Removed, 42)); err != nil || got != 42 {
		t.Fatalf("decoded %v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {'r'}, []byte("rxxxxxxxxxxxxy"), []byte("rxxxxxxxxxxxx\x02\x00"), keys.Named(keys.Meta, "n")} {
		if _, _, err := keys.DecodeRevision(bad); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("DecodeRevision(%x): %v", bad, err)
		}
		if _, err := keys.Number(bad); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("Number(%x): %v", bad, err)
		}
	}
}

// FuzzCheck: what Check lets pass, Pebble's own validation takes too, and the
// decoder never panics.
func FuzzCheck(f *testing.F) {
	f.Add([]byte("k\x00"))
	f.Add(keys.AppendVersion(nil, []byte("a"), keys.Revision{Main: 1}))
	f.Add(keys.AppendVersion(nil, []byte("a"), keys.Revision{Main: 1, Sub: 2}))
	f.Add([]byte("k\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"))
	f.Fuzz(func(t *testing.T, key []byte) {
		_, _, decodeErr := keys.DecodeVersion(key)
		if keys.Check(key) != nil {
			return
		}
		if err := cockroachkvs.Comparer.ValidateKey.Validate(key); err != nil {
			t.Fatalf("Check passed %x, Pebble refuses it: %v", key, err)
		}
		if key[0] == byte(keys.Keys) && key[len(key)-1] != 0 && decodeErr != nil {
			t.Fatalf("Check passed %x, DecodeVersion refuses it: %v", key, decodeErr)
		}
	})
}

// TestLeaseKeys: the keys of a lease lie within its bounds, those of others do
// not, and they sort as the user keys.
func TestLeaseKeys(t *testing.T) {
	ids := []int64{1, 2, 255, 256, -1, -2, 1 << 62}
	names := []string{"\x00", "\x00\x00", "a", "a\x00", "a\x00b", "b", "\xff", "\xff\xff"}
	for _, id := range ids {
		lower, upper := keys.LeaseKeyBounds(id)
		var last []byte
		for _, name := range names {
			key := keys.LeaseKey(id, []byte(name))
			if gotID, got, err := keys.DecodeLeaseKey(key); err != nil || gotID != id || string(got) != name {
				t.Fatalf("decoded %d %q, %v", gotID, got, err)
			}
			if err := errors.Join(keys.Check(key), keys.Check(lower), keys.Check(upper)); err != nil {
				t.Fatal(err)
			}
			if last != nil && cockroachkvs.Compare(last, key) >= 0 {
				t.Fatalf("%q does not sort behind the one before it", name)
			}
			last = key
			for _, other := range ids {
				low, up := keys.LeaseKeyBounds(other)
				inside := cockroachkvs.Compare(low, key) <= 0 && cockroachkvs.Compare(key, up) < 0
				if inside != (other == id) {
					t.Fatalf("%q of lease %d is within the bounds of lease %d: %t", name, id, other, inside)
				}
			}
		}
	}
	for _, bad := range [][]byte{nil, keys.LeaseKey(1, nil), keys.Lease(1), []byte("jxxxxxxxxa")} {
		if _, _, err := keys.DecodeLeaseKey(bad); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("DecodeLeaseKey(%x): %v", bad, err)
		}
	}
}
