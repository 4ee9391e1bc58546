package verb

import (
	"errors"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestParseCompare(t *testing.T) {
	version := func(key string, r pb.Compare_CompareResult, n int64) *pb.Compare {
		return &pb.Compare{Key: []byte(key), Target: pb.Compare_VERSION, Result: r, TargetUnion: &pb.Compare_Version{Version: n}}
	}
	for _, tc := range []struct {
		line  string
		want  *pb.Compare
		fault string
	}{
		{line: `ver("k") = "1"`, want: version("k", pb.Compare_EQUAL, 1)},
		{line: `version("k")!="1"`, want: version("k", pb.Compare_NOT_EQUAL, 1)},
		{line: ` version ( k ) < 10 `, want: version("k", pb.Compare_LESS, 10)},
		{line: `version("a) = (b") > '7'`, want: version("a) = (b", pb.Compare_GREATER, 7)},
		{line: `version("\x00\n") = "-1"`, want: version("\x00\n", pb.Compare_EQUAL, -1)},
		{line: `c("k") = "2"`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 2}}},
		{line: `create("k") = "2"`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 2}}},
		{line: `m("k") = "2"`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 2}}},
		{line: `mod("k") = "2"`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 2}}},
		{line: `val("k") = "a \"b\""`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(`a "b"`)}}},
		{line: `value("k") = ""`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{}}},
		{line: `value("k") = two words`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("two words")}}},
		{line: `lease("k") = "1f"`, want: &pb.Compare{Key: []byte("k"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 31}}},
		{line: `version`, fault: "no comparison"},
		{line: `version()`, fault: "missing"},
		{line: `version(k`, fault: "missing"},
		{line: `version("k" = "1"`, fault: "closing parenthesis"},
		{line: `version("k`, fault: "not closed"},
		{line: `version("k") "1"`, fault: "none of the operators"},
		{line: `version("k") =`, fault: "missing"},
		{line: `version("k") = "1" 2`, fault: "follows the value"},
		{line: `version("k") = one`, fault: "with a number"},
		{line: `version("k") = 9223372036854775808`, fault: "with a number"},
		{line: `age("k") = "1"`, fault: "none of version"},
	} {
		got, err := parseCompare(tc.line)
		switch {
		case tc.fault == "" && (err != nil || !proto.Equal(got, tc.want)):
			t.Errorf("%s: %v, %v; want %v", tc.line, got, err, tc.want)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%s: %v, error %v; want %q", tc.line, got, err, tc.fault)
		}
	}
}

func TestParseOp(t *testing.T) {
	get := func(r *pb.RangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	del := func(key, end string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
	}
	put := func(key, value string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
	}
	for _, tc := range []struct {
		line  string
		want  *pb.RequestOp
		fault string
	}{
		{line: `put k v`, want: put("k", "v")},
		{line: `set "k" 'v w'`, want: put("k", "v w")},
		{line: `put -- -k -v`, want: put("-k", "-v")},
		{line: `get k`, want: get(&pb.RangeRequest{Key: []byte("k")})},
		{line: `get a z --limit 2 --rev=3 --serializable`, want: get(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), Limit: 2, Revision: 3, Serializable: true})},
		{line: `get --prefix k --keys-only`, want: get(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true})},
		{line: `del k`, want: del("k", "")},
		{line: `delete "" --prefix`, want: del("\x00", "\x00")},
		{line: `del a --range-end b`, want: del("a", "b")},
		{line: `put k`, fault: "put does not take 1 argument"},
		{line: `put k v w`, fault: "put does not take 3 arguments"},
		{line: `get`, fault: "get does not take 0 arguments"},
		{line: `get a b c`, fault: "get does not take 3 arguments"},
		{line: `get a b --prefix`, fault: "cannot be given together"},
		{line: `get a --limit -1`, fault: "negative"},
		{line: `del`, fault: "del does not take 0 arguments"},
		{line: `del k --limit 1`, fault: "unknown flag"},
		{line: `put k v --lease 1`, want: &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 1}}}},
		{line: `put k v --prefix`, fault: "unknown flag"},
		{line: `"" k`, fault: "none of put, get and del"},
	} {
		got, err := parseOp(tc.line)
		switch {
		case tc.fault == "" && (err != nil || !proto.Equal(got, tc.want)):
			t.Errorf("%s: %v, %v; want %v", tc.line, got, err, tc.want)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%s: %v, error %v; want %q", tc.line, got, err, tc.fault)
		}
	}
}

func TestParseTxn(t *testing.T) {
	for _, tc := range []struct {
		text                      string
		compare, success, failure int
		fault                     string
	}{
		{text: "ver(k) = 1\n\nput a b\nget c\n\ndel d\n\n", compare: 1, success: 2, failure: 1},
		{text: "ver(k) = 1\r\n\r\nput a b\r\n\r\ndel d", compare: 1, success: 1, failure: 1},
		{text: "\nput a b", success: 1},
		{text: "\n\nput a b\n\n\n\n", failure: 1},
		{text: "", fault: "no operations"},
		{text: "ver(k) = 1", fault: "no operations"},
		{text: "put a b", fault: "line 1"},
		{text: "ver(k) = 1\n\nver(k) = 1", fault: "line 3"},
		{text: "\n\nput a b\n\nput c d", fault: "line 5"},
	} {
		got, err := parseTxn(tc.text)
		var usage *UsageError
		switch {
		case tc.fault != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%q: error %v, want a usage error with %q", tc.text, err, tc.fault)
		case tc.fault == "" && (err != nil || len(got.Compare) != tc.compare || len(got.Success) != tc.success || len(got.Failure) != tc.failure):
			t.Errorf("%q: %v, %v", tc.text, got, err)
		}
	}
}

// FuzzParseTxn: no input makes the parser panic, and what it accepts holds no
// missing parts.
func FuzzParseTxn(f *testing.F) {
	for _, s := range []string{"ver(k) = 1\n\nput a b\n\nget c --prefix\n", "\n\ndel ''", "m(\"", "\n\"\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		req, err := parseTxn(text)
		if err != nil {
			return
		}
		if _, err := proto.Marshal(req); err != nil {
			t.Errorf("accepted what cannot be sent: %v", err)
		}
		for _, c := range req.GetCompare() {
			if c.GetTargetUnion() == nil {
				t.Errorf("a comparison with nothing: %v", c)
			}
		}
	})
}
