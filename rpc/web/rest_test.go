package web_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/node"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

func TestRESTRoundTrip(t *testing.T) {
	s := newSite(t, request.Config{})
	s.expect("PUT", "/kv/name", "Alice", 200, `{"revision":2}`)
	s.expect("GET", "/kv/name", "", 200, "Alice")
	_, header, _ := s.do("GET", "/kv/name?serializable=true", "")
	for name, want := range map[string]string{
		"Raftkv-Revision": "2", "Raftkv-Mod-Revision": "2", "Raftkv-Create-Revision": "2", "Raftkv-Version": "1",
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := s.member.ReadIndexes(); n != 1 {
		t.Errorf("%d read index rounds for one linearizable and one serializable read", n)
	}
	s.expect("DELETE", "/kv/name", "", 200, `{"deleted":1,"revision":3}`)
	s.expect("DELETE", "/kv/name", "", 200, `{"deleted":0,"revision":3}`)
	s.expect("GET", "/kv/name", "", 404, `{"code":5,"status":"NotFound","message":"key not found: \"name\""}`)
}

// TestRESTReachesEveryKey: what a path cleaner would mangle is a key like any
// other.
func TestRESTReachesEveryKey(t *testing.T) {
	s := newSite(t, request.Config{})
	for i, tc := range []struct{ path, key string }{
		{"a/b/c", "a/b/c"}, {"a//b", "a//b"}, {"../etc", "../etc"}, {"trailing/", "trailing/"}, {"%2Fabs", "/abs"},
		{"sp%20ace+plus", "sp ace+plus"}, {"%00%ff", "\x00\xff"}, {"%25", "%"}, {"q%3Fmark", "q?mark"},
	} {
		value := fmt.Sprintf("value %d", i)
		if code, _, body := s.do("PUT", "/kv/"+tc.path, value); code != 200 {
			t.Errorf("PUT %s: %d %s", tc.path, code, body)
		}
		s.expect("GET", "/kv/"+tc.path, "", 200, value)
		put := &pb.RangeRequest{Key: []byte(tc.key)}
		if got, err := s.member.Range(t.Context(), put); err != nil || len(got.GetKvs()) != 1 {
			t.Errorf("%s did not become the key %q: %v, %v", tc.path, tc.key, got, err)
		}
	}
}

func TestRESTRefusals(t *testing.T) {
	s := newSite(t, request.Config{RequestBytesMax: 100})
	s.expect("PUT", "/kv/", "v", 400, `{"code":3,"status":"InvalidArgument","message":"etcdserver: key is not provided"}`)
	s.expect("PUT", "/kv/k", strings.Repeat("v", 101), 413, `{"code":3,"status":"InvalidArgument","message":"etcdserver: request is too large"}`)
	s.expect("PUT", "/kv/k", strings.Repeat("v", 99), 400, `{"code":3,"status":"InvalidArgument","message":"etcdserver: request is too large"}`)
	s.expect("PUT", "/kv/k?lease=x", "v", 400, `{"code":3,"status":"InvalidArgument","message":"parameter lease=\"x\" is not a whole number"}`)
	s.expect("GET", "/kv/k?prefix&limit=-1", "", 400, `{"code":3,"status":"InvalidArgument","message":"parameter limit=\"-1\" is not a whole number"}`)
	s.expect("DELETE", "/kv/?prefix", "", 400, `{"code":3,"status":"InvalidArgument","message":"an empty prefix would delete every key; not done here"}`)
	s.expect("POST", "/kv/k", "v", 405, `{"code":12,"status":"Unimplemented","message":"method POST is not allowed on a key; use GET, PUT or DELETE"}`)
	if n := len(s.member.Commands()); n != 0 {
		t.Errorf("%d commands were proposed", n)
	}
	s.member.Switch(rpctest.Switches{ProposeErr: node.ErrUnknownOutcome})
	s.expect("PUT", "/kv/k", "v", 503, `{"code":14,"status":"Unavailable","message":"etcdserver: request timed out"}`)
	s.member.Switch(rpctest.Switches{ProposeErr: node.ErrBusy})
	s.expect("DELETE", "/kv/k", "", 429, `{"code":8,"status":"ResourceExhausted","message":"etcdserver: too many requests"}`)
}

func TestRESTPrefixDelete(t *testing.T) {
	s := newSite(t, request.Config{})
	for _, key := range []string{"a", "b/1", "b/2", "c", "%ff%ff1", "%ff%ff2"} {
		s.do("PUT", "/kv/"+key, "v")
	}
	s.expect("DELETE", "/kv/b/?prefix", "", 200, `{"deleted":2,"revision":8}`)
	s.expect("DELETE", "/kv/%ff%ff?prefix", "", 200, `{"deleted":2,"revision":9}`)
	s.expect("GET", "/kv/?prefix&keys_only=true", "", 200, `{"revision":9,"count":2,"more":false,"kvs":[
		{"key":"a","create_revision":2,"mod_revision":2,"version":1},
		{"key":"c","create_revision":5,"mod_revision":5,"version":1}]}`)
}

// listing is what a client of the REST interface decodes.
type listing struct {
	Revision, Count int64
	More            bool
	Next            string
	KVs             []struct {
		Key, Value  *string
		KeyBase64   []byte `json:"key_base64"`
		ValueBase64 []byte `json:"value_base64"`
	}
}

func (s *site) list(path string) listing {
	s.t.Helper()
	code, _, body := s.do("GET", path, "")
	var l listing
	if err := json.Unmarshal([]byte(body), &l); err != nil || code != 200 {
		s.t.Fatalf("GET %s: %d %s (%v)", path, code, body, err)
	}
	return l
}

func TestRESTListing(t *testing.T) {
	s := newSite(t, request.Config{})
	const keys = 300
	for i := range keys {
		s.do("PUT", fmt.Sprintf("/kv/p/%03d", i), fmt.Sprint("v", i))
	}
	s.do("PUT", "/kv/q", "\xff\xfe")
	s.do("PUT", "/kv/%ff", "text")

	all := s.list("/kv/p/?prefix")
	if len(all.KVs) != keys || all.More || all.Count != keys || all.Revision != keys+3 {
		t.Errorf("%d keys, more %v, count %d, revision %d", len(all.KVs), all.More, all.Count, all.Revision)
	}
	// Page by page, as a script would.
	seen, from := 0, ""
	for {
		page := s.list("/kv/p/?prefix&limit=70" + from)
		for _, kv := range page.KVs {
			if want := fmt.Sprintf("p/%03d", seen); *kv.Key != want || *kv.Value != fmt.Sprint("v", seen) {
				t.Fatalf("key %d is %q=%q", seen, *kv.Key, *kv.Value)
			}
			seen++
		}
		if !page.More {
			break
		}
		from = "&from=" + page.Next
	}
	if seen != keys {
		t.Errorf("paged through %d keys", seen)
	}
	// A listing may not be led outside its prefix.
	if l := s.list("/kv/q?prefix&from=" + url.QueryEscape("a")); l.Count != 1 || *l.KVs[0].Key != "q" {
		t.Errorf("%+v", l)
	}
	if l := s.list("/kv/q?prefix"); string(l.KVs[0].ValueBase64) != "\xff\xfe" || l.KVs[0].Value != nil {
		t.Errorf("a binary value: %+v", l.KVs[0])
	}
	if l := s.list("/kv/%ff?prefix"); string(l.KVs[0].KeyBase64) != "\xff" || *l.KVs[0].Value != "text" {
		t.Errorf("a binary key: %+v", l.KVs[0])
	}
	if l := s.list("/kv/none?prefix"); l.KVs == nil || len(l.KVs) != 0 {
		t.Errorf("nothing listed must be an empty list, not %+v", l)
	}
}

func TestRESTListingStopsAtItsBound(t *testing.T) {
	s := newSite(t, request.Config{})
	const keys, valueBytes = 20, 1 << 20
	for i := range keys {
		s.do("PUT", fmt.Sprintf("/kv/p/%03d", i), strings.Repeat("v", valueBytes))
	}
	page := s.list("/kv/p/?prefix")
	if !page.More || page.Next == "" || len(page.KVs) < 8 || len(page.KVs) > 17 {
		t.Errorf("%d values of 1 MiB listed, more %v", len(page.KVs), page.More)
	}
}
