package request_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/rpc/request"
)

func put(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func del(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func get(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func nested(success, failure []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

// The cases follow from reading etcd 3.7's checks; order dependence included.
func TestCheckTxnOverlaps(t *testing.T) {
	for _, tc := range []struct {
		name string
		ops  []*pb.RequestOp
		dup  bool
	}{
		{"distinct puts", ops(put("a"), put("b")), false},
		{"the same put twice", ops(put("a"), put("a")), true},
		{"put within a deleted range", ops(del("a", "c"), put("b")), true},
		{"put before the delete", ops(put("b"), del("a", "c")), true},
		{"put at the end of a deleted range", ops(del("a", "c"), put("c")), false},
		{"put of a deleted key", ops(del("a", ""), put("a")), true},
		{"put beside a deleted key", ops(del("a", ""), put("aa")), false},
		{"overlapping deletes", ops(del("a", "c"), del("b", "d")), false},
		{"put under a from-key delete", ops(del("a", "\x00"), put("b")), false},
		{"reads beside anything", ops(get("a"), put("a"), get("a")), false},
		{"both branches of a nested txn put", ops(nested(ops(put("a")), ops(put("a")))), false},
		{"nested and own put", ops(nested(ops(put("a")), nil), put("a")), true},
		{"two nested txns put", ops(nested(ops(put("a")), nil), nested(nil, ops(put("a")))), true},
		{"nested put in own deleted range", ops(nested(ops(put("b")), nil), del("a", "c")), true},
		{"nested delete, own put", ops(put("a"), nested(ops(del("a", "")), nil)), true},
		{"nested delete, then nested put", ops(nested(ops(del("a", "")), nil), nested(ops(put("a")), nil)), true},
		{"nested put, then nested delete", ops(nested(ops(put("a")), nil), nested(ops(del("a", "")), nil)), false},
		{"delete and put in the two branches", ops(nested(ops(del("a", "")), ops(put("a")))), false},
		{"overlap deep inside", ops(nested(nil, ops(nested(ops(put("a"), put("a")), nil)))), true},
	} {
		for branch, txn := range map[string]*pb.TxnRequest{"success": {Success: tc.ops}, "failure": {Failure: tc.ops}} {
			err := request.CheckTxn(txn, 128)
			if tc.dup && err != rpctypes.ErrGRPCDuplicateKey || !tc.dup && err != nil {
				t.Errorf("%s, %s branch: %v", tc.name, branch, err)
			}
		}
	}
}

// TestCheckTxnOverlapsMatchesModel compares with a model over sets of
// single-letter keys, which knows neither trees nor intervals.
func TestCheckTxnOverlapsMatchesModel(t *testing.T) {
	const rounds = 20000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	refused := 0
	for range rounds {
		branch := randomOps(random, 3)
		_, _, ok := modelFootprint(branch)
		err := request.CheckTxn(&pb.TxnRequest{Success: branch}, 128)
		if ok != (err == nil) {
			t.Fatalf("seed %d: model says fine=%v, CheckTxn says %v, of %v", seed, ok, err, branch)
		}
		if !ok {
			refused++
		}
	}
	if refused < rounds/20 || refused > rounds*19/20 {
		t.Errorf("%d of %d refused: the generator is lopsided", refused, rounds)
	}
}

const alphabet = "abcdefgh"

func randomOps(random *rand.Rand, depth int) []*pb.RequestOp {
	list := make([]*pb.RequestOp, random.IntN(4))
	letter := func() string { i := random.IntN(len(alphabet)); return alphabet[i : i+1] }
	for i := range list {
		switch kind := random.IntN(4); {
		case kind == 0 && depth > 0:
			list[i] = nested(randomOps(random, depth-1), randomOps(random, depth-1))
		case kind == 1:
			from, to := letter(), letter()
			if to < from {
				from, to = to, from
			}
			if from == to {
				to = ""
			}
			list[i] = del(from, to)
		default:
			list[i] = put(letter())
		}
	}
	return list
}

func modelFootprint(list []*pb.RequestOp) (puts, dels string, ok bool) {
	for _, op := range list {
		if d := op.GetRequestDeleteRange(); d != nil {
			for _, k := range alphabet {
				key, from, to := string(k), string(d.GetKey()), string(d.GetRangeEnd())
				if key == from || to != "" && key > from && key < to {
					dels += key
				}
			}
		}
	}
	add := func(key, exempt string) bool {
		if strings.Contains(dels, key) || strings.Contains(puts, key) && !strings.Contains(exempt, key) {
			return false
		}
		puts += key
		return true
	}
	for _, op := range list {
		t := op.GetRequestTxn()
		if t == nil {
			continue
		}
		p1, d1, ok1 := modelFootprint(t.GetSuccess())
		p2, d2, ok2 := modelFootprint(t.GetFailure())
		if !ok1 || !ok2 {
			return "", "", false
		}
		before := puts
		for _, k := range unique(p1) {
			if !add(string(k), "") {
				return "", "", false
			}
		}
		for _, k := range unique(p2) {
			if strings.ContainsRune(before, k) || !add(string(k), p1) {
				return "", "", false
			}
		}
		dels += d1 + d2
	}
	for _, op := range list {
		if p := op.GetRequestPut(); p != nil && !add(string(p.GetKey()), "") {
			return "", "", false
		}
	}
	return puts, dels, true
}

func unique(s string) string {
	out := ""
	for _, k := range s {
		if !strings.ContainsRune(out, k) {
			out += string(k)
		}
	}
	return out
}

func TestCheckTxnCountsOpsLikeEtcd(t *testing.T) {
	many := func(n int) []*pb.RequestOp {
		list := make([]*pb.RequestOp, n)
		for i := range list {
			list[i] = put(fmt.Sprintf("k%d", i))
		}
		return list
	}
	compares := make([]*pb.Compare, 5)
	for i := range compares {
		compares[i] = &pb.Compare{Key: []byte("k")}
	}
	for _, tc := range []struct {
		name string
		txn  *pb.TxnRequest
		want error
	}{
		{"as many as allowed in both branches", &pb.TxnRequest{Success: many(4), Failure: many(4)}, nil},
		{"one more in success", &pb.TxnRequest{Success: many(5)}, rpctypes.ErrGRPCTooManyOps},
		{"one more in failure", &pb.TxnRequest{Failure: many(5)}, rpctypes.ErrGRPCTooManyOps},
		{"one more compare", &pb.TxnRequest{Compare: compares}, rpctypes.ErrGRPCTooManyOps},
		{"nested within the rest", &pb.TxnRequest{Success: ops(nested(many(3), nil))}, nil},
		{"nested beyond the rest", &pb.TxnRequest{Success: ops(nested(many(4), nil))}, rpctypes.ErrGRPCTooManyOps},
	} {
		if err := request.CheckTxn(tc.txn, 4); err != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestReadOnlyAndSerializable(t *testing.T) {
	local := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a"), Serializable: true}}}
	for _, tc := range []struct {
		name                   string
		txn                    *pb.TxnRequest
		readOnly, serializable bool
	}{
		{"no operations", &pb.TxnRequest{}, true, false},
		{"a range", &pb.TxnRequest{Success: ops(get("a"))}, true, false},
		{"serializable ranges", &pb.TxnRequest{Success: ops(local), Failure: ops(local)}, true, true},
		{"one of two serializable", &pb.TxnRequest{Success: ops(local), Failure: ops(get("a"))}, true, false},
		{"a put", &pb.TxnRequest{Success: ops(get("a")), Failure: ops(put("a"))}, false, false},
		{"nested ranges", &pb.TxnRequest{Success: ops(nested(ops(get("a")), nil))}, false, false},
	} {
		if got := request.IsReadOnly(tc.txn); got != tc.readOnly {
			t.Errorf("%s: read-only %v", tc.name, got)
		}
		if got := request.IsSerializable(tc.txn); got != tc.serializable {
			t.Errorf("%s: serializable %v", tc.name, got)
		}
	}
}
