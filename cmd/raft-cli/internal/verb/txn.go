package verb

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

func txnCommand(s *Session) *cobra.Command {
	cmd := s.command("txn", "Execute a transaction read from the standard input", cobra.NoArgs,
		func([]string) (request, error) {
			text, err := s.input()
			if err != nil {
				return nil, err
			}
			req, err := parseTxn(string(text))
			return func(ctx context.Context, c *client.Client) error { return s.txn(ctx, c, req) }, err
		})
	cmd.Long = `Execute a transaction read from the standard input, in the syntax of etcdctl:
comparisons, the operations if all of them hold, and the operations otherwise,
one a line; an empty line ends each part.

A comparison is version("key"), create("key"), mod("key"), value("key") or
lease("key"), one of = != < >, and a value. An operation is put KEY VALUE,
get KEY or del KEY, with the flags of these commands. In double quotes, \n, \x00
and the like stand for the bytes that they name.`
	cmd.Example = `  raft-cli txn <<'EOF'
  value("name") = "Alice"

  put name "Bob"
  get --prefix "na"

  get name
  EOF`
	return cmd
}

func (s *Session) txn(ctx context.Context, c *client.Client, req *pb.TxnRequest) error {
	resp, _, err := c.Txn(ctx, req)
	if err == nil {
		return s.print(s.txnOutput(req, resp))
	}
	for _, op := range slices.Concat(req.GetSuccess(), req.GetFailure()) {
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			return s.explain(err, r.RequestPut.GetKey())
		case *pb.RequestOp_RequestDeleteRange:
			return s.explain(err, r.RequestDeleteRange.GetKey())
		}
	}
	return err
}

// txnJSON and opJSON have the shape that etcdctl gives a transaction.
type txnJSON struct {
	Header    *pb.ResponseHeader `json:"header,omitempty"`
	Succeeded bool               `json:"succeeded"`
	Responses []responseJSON     `json:"responses,omitempty"`
}

type responseJSON struct {
	Response opJSON `json:"Response"`
}

type opJSON struct {
	Range  *pb.RangeResponse       `json:"response_range,omitempty"`
	Put    *pb.PutResponse         `json:"response_put,omitempty"`
	Delete *pb.DeleteRangeResponse `json:"response_delete_range,omitempty"`
}

func txnToJSON(resp *pb.TxnResponse) txnJSON {
	j := txnJSON{Header: resp.GetHeader(), Succeeded: resp.GetSucceeded()}
	for _, r := range resp.GetResponses() {
		j.Responses = append(j.Responses, responseJSON{opJSON{
			Range: r.GetResponseRange(), Put: r.GetResponsePut(), Delete: r.GetResponseDeleteRange(),
		}})
	}
	return j
}

func (s *Session) txnOutput(req *pb.TxnRequest, resp *pb.TxnResponse) output {
	outcome, ops := "SUCCESS", req.GetSuccess()
	if !resp.GetSucceeded() {
		outcome, ops = "FAILURE", req.GetFailure()
	}
	// The response of each operation, as lines.
	results := make([]string, len(resp.GetResponses()))
	for i, r := range resp.GetResponses() {
		var b bytes.Buffer
		switch v := r.GetResponse().(type) {
		case *pb.ResponseOp_ResponsePut:
			b.WriteString("OK\n")
			if prev := v.ResponsePut.GetPrevKv(); prev != nil {
				fmt.Fprintf(&b, "%s\n%s\n", s.text(prev.GetKey()), s.text(prev.GetValue()))
			}
		case *pb.ResponseOp_ResponseDeleteRange:
			fmt.Fprintln(&b, v.ResponseDeleteRange.GetDeleted())
		case *pb.ResponseOp_ResponseRange:
			var asked *pb.RangeRequest
			if i < len(ops) {
				asked = ops[i].GetRequestRange()
			}
			s.writePairs(&b, asked, v.ResponseRange, true)
		}
		results[i] = b.String()
	}
	o := output{
		json: txnToJSON(resp),
		head: []string{"OPERATION", "RESULT"},
		rows: [][]string{{"transaction", outcome}},
		simple: func(b *bytes.Buffer) {
			b.WriteString(outcome + "\n")
			for _, r := range results {
				b.WriteString("\n" + r)
			}
		},
	}
	for i, r := range results {
		line := strings.ReplaceAll(strings.TrimSuffix(r, "\n"), "\n", " ")
		o.rows = append(o.rows, []string{strconv.Itoa(i + 1), cell(line)})
	}
	return o
}
