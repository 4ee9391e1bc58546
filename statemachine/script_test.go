package statemachine_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// TestScripts runs the scripts of testdata: "apply" applies its lines as one
// entry each in one call, "read" answers its lines, "leases" lists what there is. A transaction spans the
// lines from "txn" to "end", a frame those from "frame" to "end".
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		m := start(t)
		l := newLog(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			p := &parser{t: t, lines: strings.Split(strings.TrimSpace(d.Input), "\n")}
			var out strings.Builder
			switch d.Cmd {
			case "apply":
				var entries []*raftpb.Entry
				for len(p.lines) > 0 {
					entries = append(entries, l.entry(p.command()))
				}
				for _, result := range apply(t, m, entries...) {
					out.WriteString(formatResult(result))
				}
			case "read":
				for len(p.lines) > 0 {
					out.WriteString(formatResult(p.read(m)))
				}
			case "leases":
				out.WriteString(formatLeases(t, m))
			default:
				t.Fatalf("unknown directive %s", d.Cmd)
			}
			return out.String()
		})
	})
}

// formatLeases lists all leases with their keys.
func formatLeases(t *testing.T, m *statemachine.Machine) string {
	var out strings.Builder
	if err := m.EachLease(func(l statemachine.Lease) error {
		attached, err := m.LeaseKeys(l.ID)
		fmt.Fprintf(&out, "%d TTL %d remaining %d keys %q\n", l.ID, l.TTLSeconds, l.RemainingSeconds, attached)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type reader interface {
	Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	ReadTxn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
}

// parser reads the lines of a script.
type parser struct {
	t     *testing.T
	lines []string
}

func (p *parser) next() []string {
	fields := strings.Fields(p.lines[0])
	p.lines = p.lines[1:]
	return fields
}

func (p *parser) command() []byte {
	fields := p.next()
	switch fields[0] {
	case "version":
		return setVersion(p.t, fields[1])
	case "frame":
		return p.frame()
	case "append":
		return command(p.t, envelope.KindAppend, p.put(fields[1:]))
	case "grant":
		return command(p.t, envelope.KindLeaseGrant, &pb.LeaseGrantRequest{ID: p.number(fields[1]), TTL: p.number(fields[2])})
	case "revoke":
		_, opts := p.arguments(fields[1:])
		return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseRevoke,
			Body: envelope.LeaseRevoke{ID: p.number(fields[1]), Term: uint64(p.number(opts["term"]))}.Encode()})
	case "remaining":
		_, opts := p.arguments(fields[1:])
		return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseRemaining,
			Body: envelope.LeaseRemaining{Term: uint64(p.number(opts["term"])),
				Leases: []envelope.RemainingTTL{{ID: p.number(fields[1]), Seconds: p.number(fields[2])}}}.Encode()})
	}
	return request(p.t, p.request(fields))
}

// frame reads lines up to "end", each a write. Without a session, since its id
// depends on where it was opened.
func (p *parser) frame() []byte {
	var writes []envelope.Write
	for {
		fields := p.next()
		if fields[0] == "end" {
			return frameOf(0, 0, 0, writes...)
		}
		args, opts := p.arguments(fields[1:])
		w := envelope.Write{Lease: p.number(opts["lease"])}
		if len(args) > 0 {
			w.Key = args[0]
		}
		if len(args) > 1 {
			w.Value = args[1]
		}
		switch fields[0] {
		case "put":
			w.Op = envelope.WritePut
		case "append":
			w.Op = envelope.WriteAppend
		case "delete":
			w.Op, w.RangeEnd, w.Value = envelope.WriteDelete, w.Value, nil
		case "swap":
			w.Op, w.ExpectedRevision = envelope.WriteCompareAndSwap, p.number(opts["mod"])
			if value, ok := opts["value"]; ok {
				w.ByValue, w.Expected = true, []byte(value)
			}
		case "increment":
			w.Op, w.Value, w.Delta = envelope.WriteIncrement, nil, p.number(string(w.Value))
		case "refused":
			w = envelope.Write{Op: envelope.WriteRefused, Refusal: uint64(p.number(string(w.Key)))}
		case "txn":
			w = envelope.Write{Op: envelope.WriteTxn, Txn: marshalled(p.txn())}
		default:
			p.t.Fatalf("unknown write %q", fields)
		}
		writes = append(writes, w)
	}
}

func (p *parser) read(m reader) any {
	switch req := p.request(p.next()).(type) {
	case *pb.RangeRequest:
		return result(m.Range(context.Background(), req))
	case *pb.TxnRequest:
		return result(m.ReadTxn(context.Background(), req))
	default:
		p.t.Fatalf("cannot read with %T", req)
		return nil
	}
}

func result[T any](resp *T, err error) any {
	if err != nil {
		return err
	}
	return resp
}

func (p *parser) request(fields []string) proto.Message {
	switch fields[0] {
	case "put":
		return p.put(fields[1:])
	case "delete":
		args, opts := p.arguments(fields[1:])
		req := &pb.DeleteRangeRequest{Key: args[0], PrevKv: opts["prev"] != ""}
		if len(args) > 1 {
			req.RangeEnd = args[1]
		}
		return req
	case "compact":
		return &pb.CompactionRequest{Revision: p.number(fields[1])}
	case "range":
		return p.rangeRequest(fields[1:])
	case "txn":
		return p.txn()
	}
	p.t.Fatalf("unknown command %q", fields)
	return nil
}

func (p *parser) put(fields []string) *pb.PutRequest {
	args, opts := p.arguments(fields)
	req := &pb.PutRequest{Key: args[0], PrevKv: opts["prev"] != "", IgnoreValue: opts["ignore-value"] != "",
		IgnoreLease: opts["ignore-lease"] != "", Lease: p.number(opts["lease"])}
	if len(args) > 1 {
		req.Value = args[1]
	}
	return req
}

func (p *parser) rangeRequest(fields []string) *pb.RangeRequest {
	args, opts := p.arguments(fields)
	req := &pb.RangeRequest{
		Key: args[0], Revision: p.number(opts["rev"]), Limit: p.number(opts["limit"]),
		KeysOnly: opts["keys-only"] != "", CountOnly: opts["count-only"] != "",
		MinModRevision: p.number(opts["min-mod"]), MaxModRevision: p.number(opts["max-mod"]),
		MinCreateRevision: p.number(opts["min-create"]), MaxCreateRevision: p.number(opts["max-create"]),
		SortTarget: pb.RangeRequest_SortTarget(pb.RangeRequest_SortTarget_value[strings.ToUpper(opts["sort"])]),
		SortOrder:  pb.RangeRequest_SortOrder(pb.RangeRequest_SortOrder_value[strings.ToUpper(opts["order"])]),
	}
	if len(args) > 1 {
		req.RangeEnd = args[1]
	}
	return req
}

// txn reads lines up to "end": "if target key op value [end=…]", "then
// operation" and "else operation".
func (p *parser) txn() *pb.TxnRequest {
	req := &pb.TxnRequest{}
	for {
		fields := p.next()
		switch fields[0] {
		case "end":
			return req
		case "if":
			req.Compare = append(req.Compare, p.compare(fields[1:]))
		case "then":
			req.Success = append(req.Success, p.operation(fields[1:]))
		case "else":
			req.Failure = append(req.Failure, p.operation(fields[1:]))
		default:
			p.t.Fatalf("unknown line %q in a transaction", fields)
		}
	}
}

func (p *parser) operation(fields []string) *pb.RequestOp {
	if fields[0] == "nothing" {
		return &pb.RequestOp{}
	}
	switch req := p.request(fields).(type) {
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: req}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: req}}
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: req}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: req}}
	default:
		p.t.Fatalf("%T is no operation of a transaction", req)
		return nil
	}
}

func (p *parser) compare(fields []string) *pb.Compare {
	args, opts := p.arguments(fields)
	c := &pb.Compare{Key: args[1], RangeEnd: []byte(opts["end"])}
	c.Result = map[string]pb.Compare_CompareResult{"=": pb.Compare_EQUAL, "!=": pb.Compare_NOT_EQUAL,
		">": pb.Compare_GREATER, "<": pb.Compare_LESS}[string(args[2])]
	value := string(args[3])
	switch string(args[0]) {
	case "value":
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(value)}
	case "version":
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: p.number(value)}
	case "create":
		c.Target, c.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: p.number(value)}
	case "mod":
		c.Target, c.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: p.number(value)}
	case "lease":
		c.Target, c.TargetUnion = pb.Compare_LEASE, &pb.Compare_Lease{Lease: p.number(value)}
	default:
		p.t.Fatalf("unknown target %q", args[0])
	}
	return c
}

// arguments splits fields into keys and values on one hand, and options on the
// other: name=value, or a flag out of a fixed list.
func (p *parser) arguments(fields []string) (args [][]byte, opts map[string]string) {
	opts = make(map[string]string)
	for _, f := range fields {
		name, value, hasValue := strings.Cut(f, "=")
		switch {
		case hasValue && name != "" && name != "!":
			opts[name] = value
		case f == "prev" || f == "ignore-value" || f == "ignore-lease" || f == "keys-only" || f == "count-only":
			opts[f] = "true"
		case f == `""`:
			args = append(args, nil)
		default:
			args = append(args, []byte(strings.ReplaceAll(f, `\0`, "\x00")))
		}
	}
	return args, opts
}

func (p *parser) number(s string) int64 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func formatResult(v any) string {
	var out strings.Builder
	writeResult(&out, "", v)
	return out.String()
}

func writeResult(out *strings.Builder, indent string, v any) {
	line := func(format string, args ...any) { fmt.Fprintf(out, indent+format+"\n", args...) }
	kvs := func(title string, list ...*mvccpb.KeyValue) {
		for _, kv := range list {
			if kv != nil {
				line("  %s%s=%s create %d mod %d version %d", title, kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
			}
		}
	}
	switch r := v.(type) {
	case error:
		line("error: %v", r)
	case *pb.PutResponse:
		line("put: revision %d", r.Header.Revision)
		kvs("previous ", r.PrevKv)
	case *pb.DeleteRangeResponse:
		line("delete: revision %d, %d deleted", r.Header.Revision, r.Deleted)
		kvs("previous ", r.PrevKvs...)
	case *pb.RangeResponse:
		more := ""
		if r.More {
			more = ", more"
		}
		line("range: revision %d, count %d%s", r.Header.Revision, r.Count, more)
		kvs("", r.Kvs...)
	case *pb.CompactionResponse:
		line("compact: revision %d", r.Header.Revision)
	case *pb.LeaseGrantResponse:
		line("grant: revision %d, id %d, TTL %d", r.Header.Revision, r.ID, r.TTL)
	case *pb.LeaseRevokeResponse:
		line("revoke: revision %d", r.Header.Revision)
	case *pb.LeaseCheckpointResponse:
		line("remaining: revision %d", r.Header.Revision)
	case *pb.TxnResponse:
		line("txn: revision %d, succeeded %t", r.Header.Revision, r.Succeeded)
		for _, op := range r.Responses {
			writeResult(out, indent+"  ", operationResponse(op))
		}
	case *statemachine.FrameResult:
		line("frame:")
		writes, err := parseResults(r.Writes)
		if err != nil {
			line("error: %v", err)
		}
		for _, w := range writes {
			line("  %s", formatWrite(w))
		}
	case nil:
		line("nothing")
	default:
		line("%T", v)
	}
}

func operationResponse(op *pb.ResponseOp) any {
	switch r := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		return r.ResponseRange
	case *pb.ResponseOp_ResponsePut:
		return r.ResponsePut
	case *pb.ResponseOp_ResponseDeleteRange:
		return r.ResponseDeleteRange
	case *pb.ResponseOp_ResponseTxn:
		return r.ResponseTxn
	}
	return nil
}

// formatWrite leaves out what is zero.
func formatWrite(w answered) string {
	out := fmt.Sprintf("revision %d", w.Revision)
	for _, n := range []struct {
		name  string
		value int64
	}{{"refused", int64(w.Refusal)}, {"deleted", w.Deleted}, {"length", w.Length}, {"value", w.Value}, {"found", w.Found}} {
		if n.value != 0 {
			out += fmt.Sprintf(", %s %d", n.name, n.value)
		}
	}
	if w.Swapped {
		out += ", swapped"
	}
	if w.Txn != "" {
		resp := &pb.TxnResponse{}
		if err := proto.Unmarshal([]byte(w.Txn), resp); err != nil {
			return err.Error()
		}
		out += ", " + strings.TrimSpace(formatResult(resp))
	}
	return out
}
