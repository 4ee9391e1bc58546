package oracle

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Difference is one operation that the two answered differently. Both answers
// are masked.
type Difference struct {
	Operation    Operation
	Etcd, RaftKV Answer
}

// etcdCrashed tells that there is no answer to compare with.
func (d *Difference) etcdCrashed() bool { return strings.HasPrefix(d.Etcd.Text, crashed) }

// String shows the request and both answers; long keys and values are cut.
func (d *Difference) String() string {
	return fmt.Sprintf("  request: %s {%s}\n  etcd:    %s\n  raft-kv: %s",
		d.Operation.Method, render(d.Operation.Request), d.Etcd, d.RaftKV)
}

func (a Answer) String() string {
	if a.Code != codes.OK {
		return fmt.Sprintf("%v %q", a.Code, a.Text)
	}
	if a.Response != nil {
		return fmt.Sprintf("OK {%s}", render(a.Response))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d watch responses", len(a.Watched))
	for _, w := range a.Watched {
		fmt.Fprintf(&b, "\n    {%s}", render(w))
	}
	return b.String()
}

// Bounds of what is shown of one message.
const (
	shownBytesMax = 80
	shownTextMax  = 6000
)

// render is one line for people, not for programs.
func render(m proto.Message) string {
	m = proto.Clone(m)
	shorten(m.ProtoReflect())
	text := strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
	if len(text) > shownTextMax {
		text = fmt.Sprintf("%s… (%d more)", text[:shownTextMax], len(text)-shownTextMax)
	}
	return text
}

func shorten(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.BytesKind:
			if long := value.Bytes(); len(long) > shownBytesMax {
				short := fmt.Appendf(long[:shownBytesMax:shownBytesMax], "… (%d bytes)", len(long))
				m.Set(field, protoreflect.ValueOfBytes(short))
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				shorten(value.List().Get(i).Message())
			}
		default:
			shorten(value.Message())
		}
		return true
	})
}
