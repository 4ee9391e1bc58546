package h2

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

// headerBytesMax bounds the headers of a request, unpacked: room for a large
// token. What is larger, and packed is not beyond blockBytesMax, is read on, so
// that the other requests of the connection survive.
const (
	headerBytesMax = 64 << 10
	blockBytesMax  = 1 << 20
)

// head is what the headers of a request say. One is used again for every
// request of a connection.
type head struct {
	method, scheme, path, authority       string
	contentType, userAgent, encoding, age string // age: grpc-timeout
	fields                                []hpack.HeaderField
	bytes                                 int
	length                                int64 // content-length; negative: none
	regular                               bool  // a field that is no pseudo header was seen
	malformed                             bool
}

func (h *head) reset() {
	*h = head{fields: h.fields[:0], length: -1}
}

// field takes one field in.
func (h *head) field(f hpack.HeaderField) {
	h.bytes += len(f.Name) + len(f.Value) + 32
	if strings.HasPrefix(f.Name, ":") {
		h.pseudo(f)
		return
	}
	h.regular = true
	switch f.Name {
	case "content-type":
		h.contentType = f.Value
	case "user-agent":
		h.userAgent = f.Value
	case "grpc-timeout":
		h.age = f.Value
	case "grpc-encoding":
		h.encoding = f.Value
	case "te":
		h.malformed = h.malformed || f.Value != "trailers"
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.malformed = true // belongs to HTTP/1 (RFC 9113, section 8.2.2)
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		h.malformed = h.malformed || err != nil
		h.length = int64(n)
	case "grpc-message-type":
	default:
		h.malformed = h.malformed || strings.ContainsFunc(f.Name, func(r rune) bool { return r >= 'A' && r <= 'Z' })
		if h.bytes <= headerBytesMax {
			h.fields = append(h.fields, f)
		}
	}
}

func (h *head) pseudo(f hpack.HeaderField) {
	set := func(to *string) {
		h.malformed = h.malformed || h.regular || *to != "" || f.Value == ""
		*to = f.Value
	}
	switch f.Name {
	case ":method":
		set(&h.method)
	case ":scheme":
		set(&h.scheme)
	case ":path":
		set(&h.path)
	case ":authority":
		set(&h.authority)
	default:
		h.malformed = true
	}
}

// complete tells whether an HTTP request was described (RFC 9113, section 8.3.1).
func (h *head) complete() bool {
	return !h.malformed && h.method != "" && h.scheme != "" && h.path != ""
}

// grpc tells whether the request is one of gRPC.
func (h *head) grpc() bool {
	rest, ok := strings.CutPrefix(h.contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// headReader reads the header blocks of a connection. The metadata of a client
// are the same for most of its requests, and so is the context made of them.
type headReader struct {
	head head
	hp   *hpack.Decoder

	base   context.Context // of the connection
	ctx    context.Context // base with the metadata below
	fields []hpack.HeaderField
	said   [3]string
	trace  func(hpack.HeaderField) // nil: nobody wants to know
}

func newHeadReader(base context.Context) *headReader {
	r := &headReader{base: base}
	r.hp = hpack.NewDecoder(tableBytes, func(f hpack.HeaderField) {
		if r.trace != nil {
			r.trace(f)
		}
		r.head.field(f)
	})
	r.hp.SetMaxStringLength(blockBytesMax)
	return r
}

// read decodes a whole block into head.
func (r *headReader) read(block []byte) error {
	r.head.reset()
	if _, err := r.hp.Write(block); err != nil {
		return connError{http2.ErrCodeCompression, err.Error()}
	}
	if err := r.hp.Close(); err != nil {
		return connError{http2.ErrCodeCompression, err.Error()}
	}
	return nil
}

// context returns the connection's context with the metadata of head.
func (r *headReader) context() (context.Context, error) {
	h := &r.head
	said := [3]string{h.authority, h.contentType, h.userAgent}
	if r.ctx != nil && r.said == said && slices.Equal(r.fields, h.fields) {
		return r.ctx, nil
	}
	md := metadata.MD{}
	for i, name := range [...]string{":authority", "content-type", "user-agent"} {
		if said[i] != "" {
			md[name] = []string{said[i]}
		}
	}
	for _, f := range h.fields {
		v := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			b, err := decodeBinary(v)
			if err != nil {
				return nil, err
			}
			v = string(b)
		}
		md[f.Name] = append(md[f.Name], v)
	}
	r.ctx, r.said = metadata.NewIncomingContext(r.base, md), said
	r.fields = append(r.fields[:0], h.fields...)
	return r.ctx, nil
}

func decodeBinary(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// parseTimeout reads a grpc-timeout: at most eight digits and a unit.
func parseTimeout(s string) (d time.Duration, ok bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(s[:len(s)-1]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	unit, ok := timeoutUnit(s[len(s)-1])
	if n > int64(1<<63-1)/int64(max(unit, 1)) {
		return 1<<63 - 1, ok
	}
	return time.Duration(n) * unit, ok
}

func timeoutUnit(c byte) (unit time.Duration, ok bool) {
	switch c {
	case 'H':
		return time.Hour, true
	case 'M':
		return time.Minute, true
	case 'S':
		return time.Second, true
	case 'm':
		return time.Millisecond, true
	case 'u':
		return time.Microsecond, true
	case 'n':
		return time.Nanosecond, true
	}
	return 0, false
}
