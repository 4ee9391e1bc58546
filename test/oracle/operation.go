package oracle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// callTimeout is far above what either member takes for anything.
const callTimeout = 30 * time.Second

// Method is a method of etcd's KV, Lease or Maintenance service, or of a watch
// stream.
type Method string

// The methods that are asked.
const (
	Range       Method = "Range"
	RangeStream Method = "RangeStream"
	Put         Method = "Put"
	DeleteRange Method = "DeleteRange"
	Txn         Method = "Txn"
	Compact     Method = "Compact"
	HashKV      Method = "HashKV"
	Alarm       Method = "Alarm"
	Defragment  Method = "Defragment"
	Status      Method = "Status"

	LeaseGrant      Method = "LeaseGrant"
	LeaseRevoke     Method = "LeaseRevoke"
	LeaseTimeToLive Method = "LeaseTimeToLive"
	LeaseLeases     Method = "LeaseLeases"
	LeaseKeepAlive  Method = "LeaseKeepAlive"
)

// newRequest returns an empty request of the method.
func (m Method) newRequest() (proto.Message, error) {
	switch m {
	case Range, RangeStream:
		return &pb.RangeRequest{}, nil
	case Put:
		return &pb.PutRequest{}, nil
	case DeleteRange:
		return &pb.DeleteRangeRequest{}, nil
	case Txn:
		return &pb.TxnRequest{}, nil
	case Compact:
		return &pb.CompactionRequest{}, nil
	case HashKV:
		return &pb.HashKVRequest{}, nil
	case Alarm:
		return &pb.AlarmRequest{}, nil
	case Defragment:
		return &pb.DefragmentRequest{}, nil
	case Status:
		return &pb.StatusRequest{}, nil
	case LeaseGrant:
		return &pb.LeaseGrantRequest{}, nil
	case LeaseRevoke:
		return &pb.LeaseRevokeRequest{}, nil
	case LeaseTimeToLive, LeaseExpiry:
		return &pb.LeaseTimeToLiveRequest{}, nil
	case LeaseLeases:
		return &pb.LeaseLeasesRequest{}, nil
	case LeaseKeepAlive:
		return &pb.LeaseKeepAliveRequest{}, nil
	}
	if _, _, ok := m.watches(); ok {
		return &pb.WatchRequest{}, nil
	}
	return nil, fmt.Errorf("unknown method %q", m)
}

// reads tells whether the method leaves all as it is.
func (m Method) reads() bool {
	switch m {
	case Range, RangeStream, HashKV, Status, Defragment, LeaseTimeToLive, LeaseLeases, LeaseKeepAlive:
		return true
	}
	return false
}

// Operation is one request. It is not changed once made.
type Operation struct {
	Method  Method
	Request proto.Message
}

// Answer is what a member answered: a response, or a code other than OK and
// its text.
type Answer struct {
	Code     codes.Code
	Text     string
	Response proto.Message
	// Watched is what a watch stream received, instead of Response.
	Watched []*pb.WatchResponse
	// at is when it came.
	at time.Time
}

func answerOf(response proto.Message, err error) Answer {
	if err != nil {
		s := status.Convert(err)
		return Answer{Code: s.Code(), Text: s.Message()}
	}
	return Answer{Response: response}
}

// send asks the member behind conn.
func (o Operation) send(ctx context.Context, conn grpc.ClientConnInterface) Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kv, maintenance, lease := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn), pb.NewLeaseClient(conn)
	switch request := o.Request.(type) {
	case *pb.RangeRequest:
		if o.Method == RangeStream {
			return answerOf(collect(kv.RangeStream(ctx, request)))
		}
		return answerOf(kv.Range(ctx, request))
	case *pb.PutRequest:
		return answerOf(kv.Put(ctx, request))
	case *pb.DeleteRangeRequest:
		return answerOf(kv.DeleteRange(ctx, request))
	case *pb.TxnRequest:
		return answerOf(kv.Txn(ctx, request))
	case *pb.CompactionRequest:
		return answerOf(kv.Compact(ctx, request))
	case *pb.HashKVRequest:
		return answerOf(maintenance.HashKV(ctx, request))
	case *pb.AlarmRequest:
		return answerOf(maintenance.Alarm(ctx, request))
	case *pb.DefragmentRequest:
		return answerOf(maintenance.Defragment(ctx, request))
	case *pb.StatusRequest:
		return answerOf(maintenance.Status(ctx, request))
	case *pb.LeaseGrantRequest:
		return answerOf(lease.LeaseGrant(ctx, request))
	case *pb.LeaseRevokeRequest:
		return answerOf(lease.LeaseRevoke(ctx, request))
	case *pb.LeaseTimeToLiveRequest:
		if o.Method == LeaseExpiry {
			return answerOf(awaitExpiry(ctx, kv, lease, request))
		}
		return answerOf(lease.LeaseTimeToLive(ctx, request))
	case *pb.LeaseLeasesRequest:
		return answerOf(lease.LeaseLeases(ctx, request))
	case *pb.LeaseKeepAliveRequest:
		return answerOf(keepAlive(ctx, lease, request))
	}
	return answerOf(nil, status.Errorf(codes.Internal, "oracle: no method takes a %T", o.Request))
}

// collect merges the chunks of a stream, as the service's contract says a
// client may, and refuses a chunk after the one with the header.
func collect(stream grpc.ServerStreamingClient[pb.RangeStreamResponse], err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	whole := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return whole, nil
		case err != nil:
			return nil, err
		case whole.Header != nil:
			return nil, status.Error(codes.Internal, "oracle: a chunk came after the last one")
		}
		proto.Merge(whole, chunk.GetRangeResponse())
	}
}

// keepAlive keeps a lease alive once.
func keepAlive(ctx context.Context, client pb.LeaseClient, request *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := client.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv()
}

// line is the written form of an operation, one JSON object a line.
type line struct {
	Method  Method          `json:"method"`
	Request json.RawMessage `json:"request"`
}

// WriteProgram writes operations so that ReadProgram reads them.
func WriteProgram(w io.Writer, operations []Operation) error {
	encoder := json.NewEncoder(w)
	for i, o := range operations {
		request, err := protojson.Marshal(o.Request)
		if err == nil {
			err = encoder.Encode(line{o.Method, request})
		}
		if err != nil {
			return fmt.Errorf("write operation %d: %w", i, err)
		}
	}
	return nil
}

// ReadProgram reads operations; empty lines and those that start with # are
// comments.
func ReadProgram(r io.Reader) ([]Operation, error) {
	var operations []Operation
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		text, readErr := lines.ReadBytes('\n')
		text = bytes.TrimSpace(text)
		if len(text) > 0 && text[0] != '#' {
			o, err := readOperation(text)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			operations = append(operations, o)
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return operations, nil
		case readErr != nil:
			return nil, fmt.Errorf("line %d: %w", number, readErr)
		}
	}
}

func readOperation(text []byte) (Operation, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Operation{}, fmt.Errorf("read an operation: %w", err)
	}
	request, err := l.Method.newRequest()
	if err != nil {
		return Operation{}, err
	}
	if err := protojson.Unmarshal(l.Request, request); err != nil {
		return Operation{}, fmt.Errorf("read a %s request: %w", l.Method, err)
	}
	return Operation{Method: l.Method, Request: request}, nil
}
