package oracle

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// numbered is a program whose operations can be told apart.
func numbered(n int) []Operation {
	program := make([]Operation, n)
	for i := range program {
		program[i] = Operation{Put, &pb.PutRequest{Key: []byte{byte(i >> 8), byte(i)}}}
		if i%3 == 0 {
			program[i] = Operation{Range, &pb.RangeRequest{Key: []byte{byte(i >> 8), byte(i)}}}
		}
	}
	return program
}

// TestShrinkFindsWhatIsNeeded: a difference that needs a few operations before
// the last one is brought down to exactly those.
func TestShrinkFindsWhatIsNeeded(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		program := numbered(2 + rng.IntN(400))
		needed := []Operation{program[len(program)-1]}
		for range rng.IntN(4) {
			needed = append(needed, program[rng.IntN(len(program))])
		}
		short := Shrink(program, 100_000, func(candidate []Operation) bool {
			return !slices.ContainsFunc(needed, func(o Operation) bool { return !slices.Contains(candidate, o) })
		})
		for _, o := range short {
			if !slices.Contains(needed, o) {
				t.Fatalf("seed %d: %d of %d operations are left, %d are needed", seed, len(short), len(program), len(needed))
			}
		}
		if short[len(short)-1] != program[len(program)-1] {
			t.Fatalf("seed %d: the last operation was dropped", seed)
		}
	}
}

func TestShrinkKeepsToItsAttempts(t *testing.T) {
	asked := 0
	program := numbered(100)
	short := Shrink(program, 7, func([]Operation) bool { asked++; return false })
	if asked != 7 || len(short) != len(program) {
		t.Errorf("%d attempts left %d operations of %d; want 7 attempts and all of them", asked, len(short), len(program))
	}
	if got := Shrink(nil, 7, func([]Operation) bool { return true }); got != nil {
		t.Errorf("an empty program became %v", got)
	}
}

// TestProgramsAreWrittenAndRead: what a failure prints is what testdata takes.
func TestProgramsAreWrittenAndRead(t *testing.T) {
	g := NewGenerator(3)
	var program []Operation
	for range 300 {
		program = append(program, g.Next())
	}
	var text bytes.Buffer
	if err := WriteProgram(&text, program); err != nil {
		t.Fatal(err)
	}
	read, err := ReadProgram(&text)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b Operation) bool { return a.Method == b.Method && proto.Equal(a.Request, b.Request) }
	if !slices.EqualFunc(program, read, same) {
		t.Error("a program changed when it was written and read")
	}
	for _, bad := range []string{"{", `{"method":"Fly","request":{}}`, `{"method":"Put","request":{"wings":2}}`} {
		if _, err := ReadProgram(strings.NewReader("# comment\n\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: %v does not name line 3", bad, err)
		}
	}
}

// TestExclusions: the list covers what it names and no more.
func TestExclusions(t *testing.T) {
	open := deleteOp(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	keep := putOp(&pb.PutRequest{Key: []byte("b"), IgnoreValue: true})
	txn := func(ops ...*pb.RequestOp) Operation { return Operation{Txn, &pb.TxnRequest{Success: ops}} }
	target := func(m Method, end string, order pb.RangeRequest_SortOrder) Operation {
		return Operation{m, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte(end), SortTarget: pb.RangeRequest_MOD, SortOrder: order}}
	}
	sized := func(size int) Operation { return Operation{Put, &pb.PutRequest{Value: make([]byte, size)}} }
	for name, c := range map[string]struct {
		o    Operation
		want bool
	}{
		"open delete and a kept value": {txn(open, keep), true},
		"nested":                       {txn(txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{keep}}), open), true},
		"open delete alone":            {txn(open), false},
		"a kept value alone":           {txn(keep), false},
		"stream by target, no order":   {target(RangeStream, "b", pb.RangeRequest_NONE), true},
		"the same, one key":            {target(RangeStream, "a\x00", pb.RangeRequest_NONE), false},
		"the same, an order":           {target(RangeStream, "b", pb.RangeRequest_DESCEND), false},
		"the same, no stream":          {target(Range, "b", pb.RangeRequest_NONE), false},
		"at the limit":                 {sized(requestBytesMax), true},
		"above the limit":              {sized(requestBytesMax + 300), false},
		"below the limit":              {sized(requestBytesMax - 300), false},
	} {
		if got := excluded(c.o); got != c.want {
			t.Errorf("%s: excluded is %v", name, got)
		}
	}
}
