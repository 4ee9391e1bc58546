package oracle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
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
	sized := func(size int) Operation { return Operation{Put, &pb.PutRequest{Value: make([]byte, size)}} }
	for name, c := range map[string]struct {
		o    Operation
		want bool
	}{
		"open delete and a kept value":         {txn(open, keep), true},
		"nested":                               {txn(txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{keep}}), open), true},
		"open delete alone":                    {txn(open), false},
		"a kept value alone":                   {txn(keep), false},
		"alarm, unknown action":                {Operation{Alarm, &pb.AlarmRequest{Action: 3}}, true},
		"alarm, known action":                  {Operation{Alarm, &pb.AlarmRequest{Action: 2}}, false},
		"at the limit":                         {sized(requestBytesMax), true},
		"above the limit":                      {sized(requestBytesMax + 300), false},
		"below the limit":                      {sized(requestBytesMax - 300), false},
		"compaction where keys were put again": {Operation{Compact, &pb.CompactionRequest{Revision: 7}}, true},
		"lease without an id":                  {Operation{LeaseGrant, &pb.LeaseGrantRequest{TTL: leaseSecondsMin}}, true},
		"lease that may expire":                {Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: 1, TTL: leaseSecondsMin - 1}}, true},
		"lease":                                {Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: 1, TTL: leaseSecondsMin}}, false},
		"compaction before":                    {Operation{Compact, &pb.CompactionRequest{Revision: 6}}, false},
	} {
		if got := excluded(c.o, map[int64]bool{7: true}); got != c.want {
			t.Errorf("%s: excluded is %v", name, got)
		}
	}
}

// TestExcludedAnswers: streams by a target without an order are compared as
// long as they end within etcd's first chunk, everything else always.
func TestExcludedAnswers(t *testing.T) {
	target := func(m Method, order pb.RangeRequest_SortOrder) Operation {
		return Operation{m, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, SortTarget: pb.RangeRequest_MOD, SortOrder: order}}
	}
	unordered := target(RangeStream, pb.RangeRequest_NONE)
	keys := func(n int, more bool) Answer {
		return Answer{Response: &pb.RangeResponse{Kvs: make([]*mvccpb.KeyValue, n), More: more}}
	}
	for name, c := range map[string]struct {
		o    Operation
		a    Answer
		want bool
	}{
		"within a chunk":           {unordered, keys(9, false), false},
		"a full chunk":             {unordered, keys(10, false), true},
		"within a chunk, and more": {unordered, keys(3, true), true},
		"refused":                  {unordered, Answer{Code: codes.OutOfRange}, false},
		"an order":                 {target(RangeStream, pb.RangeRequest_DESCEND), keys(20, true), false},
		"no stream":                {target(Range, pb.RangeRequest_NONE), keys(20, true), false},
		"by key":                   {Operation{RangeStream, &pb.RangeRequest{}}, keys(20, true), false},
	} {
		if got := excludedAnswer(c.o, c.a); got != c.want {
			t.Errorf("%s: excluded is %v", name, got)
		}
	}
}

// TestAlarmsEnd: the generator deactivates whatever it activates, soon.
func TestAlarmsEnd(t *testing.T) {
	const operations = 40_000
	g := NewGenerator(4)
	active := map[string]bool{}
	since, activated := 0, 0
	for range operations {
		if r, ok := g.Next().Request.(*pb.AlarmRequest); ok && r.Alarm != pb.AlarmType_NONE {
			name := fmt.Sprint(r.MemberID, r.Alarm)
			switch r.Action {
			case pb.AlarmRequest_ACTIVATE:
				active[name] = true
				activated++
			case pb.AlarmRequest_DEACTIVATE:
				delete(active, name)
			}
		}
		if since++; len(active) == 0 {
			since = 0
		}
		if since > 2*armedOpsMax {
			t.Fatalf("seed 4: %d operations with active alarms: %v", since, active)
		}
	}
	if activated < 100 {
		t.Errorf("seed 4: %d alarms in %d operations", activated, operations)
	}
}
