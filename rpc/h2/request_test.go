package h2

import (
	"context"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

// readHead is what a reader makes of fields, and the metadata of the request.
func readHead(t *testing.T, r *headReader, all []string) (*head, metadata.MD) {
	t.Helper()
	c := &client{t: t}
	c.enc = hpack.NewEncoder(&c.block)
	c.enc.SetMaxDynamicTableSize(0)
	if err := r.read(c.encode(all)); err != nil {
		t.Fatal(err)
	}
	ctx, err := r.context()
	if err != nil {
		t.Fatal(err)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return &r.head, md
}

func TestMalformedRequests(t *testing.T) {
	for name, all := range map[string][]string{
		"no method":            fields("/a/b", ":method="),
		"no path":              fields("/a/b", ":path="),
		"no scheme":            fields("/a/b", ":scheme="),
		"an empty path":        append(fields("/a/b", ":path="), ":path="),
		"a path twice":         append([]string{":path=/a/b"}, fields("/a/b")...),
		"an unknown pseudo":    append([]string{":pseudo=x"}, fields("/a/b")...),
		"a status":             append([]string{":status=200"}, fields("/a/b")...),
		"a pseudo at the end":  append(fields("/a/b", ":authority="), ":authority=x"),
		"upper case":           fields("/a/b", "X-Upper=1"),
		"connection":           fields("/a/b", "connection=close"),
		"transfer-encoding":    fields("/a/b", "transfer-encoding=chunked"),
		"te of another kind":   fields("/a/b", "te=gzip"),
		"a negative length":    fields("/a/b", "content-length=-1"),
		"no number for length": fields("/a/b", "content-length=1x"),
	} {
		if h, _ := readHead(t, newHeadReader(context.Background()), all); h.complete() {
			t.Errorf("%s: taken for a request", name)
		}
	}
	h, _ := readHead(t, newHeadReader(context.Background()), fields("/a/b"))
	if !h.complete() || h.length != -1 || h.refusal() != nil {
		t.Error("an ordinary request is refused")
	}
}

func TestContentTypes(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;x": true,
		"application/grpc-web": false, "application/grpcx": false, "application/json": false, "": false,
	} {
		h := head{method: "POST", contentType: kind}
		if got := h.grpc(); got != want || (h.refusal() == nil) != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
}

// The context is made anew only when the metadata are others.
func TestMetadataOfRequests(t *testing.T) {
	r := newHeadReader(context.Background())
	_, md := readHead(t, r, fields("/a/b", "k=1", "a-bin=AP8", "b-bin=AP8A/w==", "user-agent=me", "grpc-timeout=1S"))
	for name, want := range map[string]string{
		"k": "1", "a-bin": "\x00\xff", "b-bin": "\x00\xff\x00\xff", ":authority": "test", "user-agent": "me",
		"content-type": "application/grpc", "grpc-timeout": "", "te": "",
	} {
		if got := md.Get(name); want != "" && (len(got) != 1 || got[0] != want) || want == "" && len(got) > 0 {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	before := r.ctx
	_, _ = readHead(t, r, fields("/a/c", "k=1", "a-bin=AP8", "b-bin=AP8A/w==", "user-agent=me"))
	if r.ctx != before {
		t.Error("the same metadata make another context")
	}
	for _, other := range [][]string{
		fields("/a/b", "k=2"), fields("/a/b"), fields("/a/b", ":authority=other"),
	} {
		before := r.ctx
		if _, _ = readHead(t, r, other); r.ctx == before {
			t.Errorf("%q: other metadata have the context of the last", other)
		}
	}
	if got := md.Get("k"); got[0] != "1" {
		t.Error("what a handler holds has changed")
	}
	r.head.fields = []hpack.HeaderField{{Name: "x-bin", Value: "?"}}
	if _, err := r.context(); err == nil {
		t.Error("? is taken for base64")
	}
}

func TestParseTimeout(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0n": 0, "1n": 1, "7u": 7 * time.Microsecond, "8m": 8 * time.Millisecond, "9S": 9 * time.Second, "2M": 2 * time.Minute,
		"3H": 3 * time.Hour, "99999999S": 99999999 * time.Second, "99999999H": 1<<63 - 1,
	} {
		if got, ok := parseTimeout(s); !ok || got != want {
			t.Errorf("%s: %v, %v", s, got, ok)
		}
		if d := deadline(want); d.Before(time.Now().Add(-time.Hour)) {
			t.Errorf("%s is over at %v", s, d)
		}
	}
	for _, s := range []string{"", "S", "1", "-1S", "+1S", "1s", "1 S", "123456789S", "1.5S", "1Sx"} {
		if got, ok := parseTimeout(s); ok {
			t.Errorf("%q is %v", s, got)
		}
	}
}
