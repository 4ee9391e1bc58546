package h2

import (
	"encoding/base64"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// tableBytes is the size that every table of HPACK has until somebody says
// otherwise (RFC 9113, section 6.5.2).
const tableBytes = 4096

// answers encodes the header blocks of a connection. Two fields are in all
// ordinary answers; the first block with one of them puts it into the client's
// table, later ones name it with a byte. Nothing else ever enters the table.
type answers struct {
	inserted            int // fields in the table
	contentType, statOK int // when they were inserted, from 1; 0: not yet
	off                 bool
	shrink              bool // the next block must say that the table is gone
}

// limitTable heeds the size of the table that the client wants.
func (a *answers) limitTable(bytes uint32) {
	if bytes < tableBytes && !a.off {
		a.off, a.shrink = true, true
	}
}

// begin starts a header block.
func (a *answers) begin(b []byte) []byte {
	if a.shrink {
		a.shrink = false
		b = append(b, 0x20) // table size 0 (RFC 7541, section 6.3)
	}
	return b
}

// header adds the fields of a response's headers.
func (a *answers) header(b []byte, encoding string, md metadata.MD) []byte {
	b = append(b, 0x88) // :status 200, in the static table
	b = a.common(b, &a.contentType, "\x5f", "\x0f\x10", "application/grpc")
	if encoding != "" {
		b = appendField(b, "grpc-encoding", encoding)
	}
	return appendMetadata(b, md)
}

// trailer adds the fields that say how a request ended.
func (a *answers) trailer(b []byte, st *status.Status, md metadata.MD) []byte {
	if st.Code() == codes.OK {
		b = a.common(b, &a.statOK, "\x40\x0bgrpc-status", "\x00\x0bgrpc-status", "0")
		return appendMetadata(b, md)
	}
	b = appendField(b, "grpc-status", codeText(st.Code()))
	b = appendField(b, "grpc-message", percentEncode(st.Message()))
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			b = appendField(b, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(details))
		}
	}
	return appendMetadata(b, md)
}

// plain adds the fields of an answer in HTTP alone (:status literal, its name in
// the static table).
func (a *answers) plain(b []byte, httpStatus string) []byte {
	b = appendString(append(b, 0x08), httpStatus)
	return appendField(b, "content-type", "text/plain; charset=utf-8")
}

// common adds a field that most answers have: by its index if it is in the
// table, else literally, and into the table if that may be. insert and plain are
// the representation's type and name for the two.
func (a *answers) common(b []byte, when *int, insert, plain, value string) []byte {
	switch {
	case a.off:
		b = append(b, plain...)
	case *when == 0:
		a.inserted++
		*when = a.inserted
		b = append(b, insert...)
	default:
		return append(b, 0x80|byte(62+a.inserted-*when))
	}
	return appendString(b, value)
}

// reserved are the names that only the protocol itself may use.
func reserved(name string) bool {
	switch name {
	case "content-type", "user-agent", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return strings.HasPrefix(name, ":")
}

func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		if reserved(name) {
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			b = appendField(b, name, v)
		}
	}
	return b
}

// appendField adds a literal field that enters no table (RFC 7541, section
// 6.2.2).
func appendField(b []byte, name, value string) []byte {
	return appendString(appendString(append(b, 0), name), value)
}

// appendString adds a string without Huffman's code (RFC 7541, section 5.2).
func appendString(b []byte, s string) []byte {
	n := len(s)
	if n < 127 {
		return append(append(b, byte(n)), s...)
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(append(b, byte(n)), s...)
}

func codeText(c codes.Code) string { return strconv.FormatUint(uint64(c), 10) }

// percentEncode makes a status message fit for a header.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c >= ' ' && c <= '~' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
