package statemachine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// frameOf makes a command of a frame.
func frameOf(session, sequence, acknowledged uint64, writes ...envelope.Write) []byte {
	var b []byte
	for i := range writes {
		b = envelope.AppendWrite(b, &writes[i])
	}
	return envelope.EncodeFrame(envelope.Command{Session: session, Sequence: sequence},
		envelope.Frame{Acknowledged: acknowledged, Writes: b})
}

// answered is the decoded result of a write.
type answered struct {
	Revision, Deleted, Length, Value, Found int64
	Refusal                                 uint64
	Swapped                                 bool
	Txn                                     string
}

// decodeResults reads the result of a frame.
func decodeResults(t testing.TB, result any) []answered {
	t.Helper()
	frame, ok := result.(*statemachine.FrameResult)
	if !ok {
		t.Fatalf("result of a frame is %v", result)
	}
	out, err := parseResults(frame.Writes)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// parseResults reads a WriteResults message as its specification says.
func parseResults(data []byte) (out []answered, err error) {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		message, size := protowire.ConsumeBytes(data[max(n, 0):])
		if num != 1 || typ != protowire.BytesType || size < 0 {
			return nil, fmt.Errorf("results %x", data)
		}
		data = data[n+size:]
		count, r, err := parseResult(message)
		if err != nil {
			return nil, err
		}
		for i := range max(count, 1) {
			one := r
			one.Revision += i
			out = append(out, one)
		}
	}
	return out, nil
}

func parseResult(data []byte) (count int64, r answered, err error) {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return 0, r, fmt.Errorf("result %x", data)
		}
		data = data[n:]
		if typ == protowire.BytesType && num == 8 {
			b, n := protowire.ConsumeBytes(data)
			r.Txn, data = string(b), data[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return 0, r, fmt.Errorf("result %x", data)
		}
		data = data[n:]
		switch num {
		case 1:
			count = int64(v)
		case 2:
			r.Revision = int64(v)
		case 3:
			r.Refusal = v
		case 4:
			r.Deleted = int64(v)
		case 5:
			r.Length = int64(v)
		case 6:
			r.Swapped = v != 0
		case 7:
			r.Value = protowire.DecodeZigZag(v)
		case 9:
			r.Found = int64(v)
		default:
			return 0, r, fmt.Errorf("field %d of a result", num)
		}
	}
	return count, r, nil
}

// randomWrites makes writes of every kind to few keys, some to be refused.
func randomWrites(r *rand.Rand, n int) (writes []envelope.Write) {
	for range n {
		w := envelope.Write{Key: fmt.Appendf(nil, "f%d", r.IntN(6)), Value: strconv.AppendInt(nil, r.Int64N(5), 10)}
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			w.Op = envelope.WritePut
		case 4, 5:
			w.Op = envelope.WriteAppend
		case 6:
			w.Op, w.Value = envelope.WriteDelete, nil
			if r.IntN(3) == 0 {
				w.RangeEnd = []byte("f9")
			}
		case 7:
			w.Op, w.ByValue, w.Expected = envelope.WriteCompareAndSwap, true, strconv.AppendInt(nil, r.Int64N(5), 10)
		case 8:
			w.Op, w.ExpectedRevision = envelope.WriteCompareAndSwap, r.Int64N(3)
		case 9:
			w.Op, w.Value, w.Delta = envelope.WriteIncrement, nil, r.Int64N(7)-3
			if r.IntN(8) == 0 {
				w.Delta = math.MaxInt64 - r.Int64N(2)
			}
		case 10:
			w = envelope.Write{Op: envelope.WriteTxn, Txn: marshalled(&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: w.Key, Value: w.Value}}}}})}
		case 11:
			w = envelope.Write{Op: envelope.WriteRefused, Refusal: 19}
		}
		if r.IntN(20) == 0 {
			w.Key = nil
		}
		writes = append(writes, w)
	}
	return writes
}

func marshalled(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// frameModel is a key space as plain as it can be.
type frameModel struct {
	values   map[string]string
	modified map[string]int64
	revision int64
}

func (m *frameModel) put(key, value string) {
	m.revision++
	m.values[key], m.modified[key] = value, m.revision
}

// Codes of refusals on the wire.
const (
	codeEmptyKey  = 3
	codeNotNumber = 17
	codeOverflow  = 18
)

// write says what a write must answer, and does it.
func (m *frameModel) write(w *envelope.Write) (r answered) {
	key := string(w.Key)
	value, exists := m.values[key]
	defer func() { r.Revision = m.revision }()
	switch w.Op {
	case envelope.WriteRefused:
		return answered{Refusal: w.Refusal}
	case envelope.WriteTxn:
		req := &pb.TxnRequest{}
		if err := proto.Unmarshal(w.Txn, req); err != nil {
			panic(err)
		}
		put := req.Success[0].GetRequestPut()
		if len(put.Key) == 0 {
			return answered{Refusal: codeEmptyKey}
		}
		m.put(string(put.Key), string(put.Value))
		return answered{Txn: string(marshalled(&pb.TxnResponse{Header: &pb.ResponseHeader{Revision: m.revision}, Succeeded: true,
			Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{
				ResponsePut: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: m.revision}}}}}}))}
	}
	if key == "" {
		return answered{Refusal: codeEmptyKey}
	}
	switch w.Op {
	case envelope.WritePut:
		m.put(key, string(w.Value))
	case envelope.WriteAppend:
		m.put(key, value+string(w.Value))
		r.Length = int64(len(m.values[key]))
	case envelope.WriteDelete:
		for k := range maps.Clone(m.values) {
			if k == key || len(w.RangeEnd) > 0 && k >= key && k < string(w.RangeEnd) {
				delete(m.values, k)
				delete(m.modified, k)
				r.Deleted++
			}
		}
		if r.Deleted > 0 {
			m.revision++
		}
	case envelope.WriteCompareAndSwap:
		r.Found = m.modified[key]
		r.Swapped = m.modified[key] == w.ExpectedRevision
		if w.ByValue {
			r.Swapped = exists && value == string(w.Expected)
		}
		if r.Swapped {
			m.put(key, string(w.Value))
		}
	case envelope.WriteIncrement:
		n := int64(0)
		if exists {
			var err error
			if n, err = strconv.ParseInt(value, 10, 64); err != nil || strconv.FormatInt(n, 10) != value {
				return answered{Refusal: codeNotNumber}
			}
		}
		if sum := n + w.Delta; (sum > n) != (w.Delta > 0) && w.Delta != 0 {
			return answered{Refusal: codeOverflow}
		}
		m.put(key, strconv.FormatInt(n+w.Delta, 10))
		r.Value = n + w.Delta
	}
	return r
}

// TestFramesMatchModel compares the results of random frames, and the key space
// behind them, with a plain model; and every result that is still recorded with
// what it was at first, through restarts.
func TestFramesMatchModel(t *testing.T) {
	seedValue := max(*seedFlag, 1)
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 4))
	fs := vfs.NewMem()
	m, l, id := startSessions(t, fs)
	model := &frameModel{values: map[string]string{}, modified: map[string]int64{}, revision: m.Revision()}
	results := make(map[uint64]any) // by sequence
	tally := make(map[string]int)
	sequence, acknowledged := uint64(0), uint64(0)
	for range 3000 {
		switch r.IntN(4) {
		case 0: // a retry of anything
			again := 1 + r.Uint64N(sequence+1)
			before := m.Revision()
			got := apply(t, m, l.entry(frameOf(id, again, 0, randomWrites(r, 2)...)))[0]
			err, _ := got.(error)
			switch {
			case again > sequence: // it was no retry; take it back by a fresh start of the model
				sequence, results[again] = again, got
				resynchronize(t, m, model)
				continue
			case again <= acknowledged && !errors.Is(err, statemachine.ErrSequencePast),
				again > acknowledged && !reflect.DeepEqual(got, asRecorded(results[again])):
				t.Fatalf("retry of %d (acknowledged up to %d): %v, at first %v", again, acknowledged, got, results[again])
			case m.Revision() != before:
				t.Fatalf("the retry of %d took effect", again)
			case again > acknowledged:
				tally["replayed"]++
			}
		case 1:
			if r.IntN(60) == 0 {
				closeMachine(t, m)
				m = openAt(t, fs, "m")
				tally["restarted"]++
			}
		default:
			sequence++
			acknowledged = min(max(acknowledged, sequence-min(sequence, 1+r.Uint64N(20))), sequence-1)
			writes := randomWrites(r, r.IntN(8))
			result := apply(t, m, l.entry(frameOf(id, sequence, acknowledged, writes...)))[0]
			got := decodeResults(t, result)
			if len(got) != len(writes) {
				t.Fatalf("%d results of %d writes", len(got), len(writes))
			}
			for i := range writes {
				if want := model.write(&writes[i]); got[i] != want {
					t.Fatalf("write %+v: %+v, want %+v", writes[i], got[i], want)
				}
				tally[fmt.Sprintf("op %d refused %d", writes[i].Op, got[i].Refusal)]++
			}
			results[sequence] = result
		}
	}
	want := maps.Clone(model.values)
	resynchronize(t, m, model)
	if !maps.Equal(model.values, want) {
		t.Errorf("values %v, want %v", model.values, want)
	}
	t.Log(tally)
	for _, must := range []string{"replayed", "restarted", "op 1 refused 0", "op 1 refused 3", "op 2 refused 0", "op 3 refused 0",
		"op 4 refused 0", "op 5 refused 0", "op 5 refused 17", "op 5 refused 18", "op 6 refused 0", "op 15 refused 19"} {
		if tally[must] < 3 {
			t.Errorf("%q happened %d times: the test exercises too little", must, tally[must])
		}
	}
	closeMachine(t, m)
}

// resynchronize makes the model what the machine is.
func resynchronize(t *testing.T, m *statemachine.Machine, model *frameModel) {
	t.Helper()
	resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte("f"), RangeEnd: []byte("g")})
	if err != nil {
		t.Fatal(err)
	}
	clear(model.values)
	clear(model.modified)
	for _, kv := range resp.Kvs {
		model.values[string(kv.Key)], model.modified[string(kv.Key)] = string(kv.Value), kv.ModRevision
	}
	model.revision = m.Revision()
}

// asRecorded is the result of a frame as it is answered again.
func asRecorded(result any) any {
	if f, ok := result.(*statemachine.FrameResult); ok {
		return &statemachine.FrameResult{Writes: f.Writes, Recorded: true}
	}
	return result
}

// TestPutsShareAResult: what follows each other takes one result of the
// message, so that a frame of puts is recorded in a few bytes.
func TestPutsShareAResult(t *testing.T) {
	m, l, id := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	var writes []envelope.Write
	for i := range 1000 {
		writes = append(writes, envelope.Write{Op: envelope.WritePut, Key: fmt.Appendf(nil, "k%d", i)})
	}
	first := apply(t, m, l.entry(frameOf(id, 1, 0, writes...)))[0]
	if n := len(first.(*statemachine.FrameResult).Writes); n > 10 {
		t.Errorf("1000 puts are answered with %d bytes", n)
	}
	writes[500].Key = nil
	got := decodeResults(t, apply(t, m, l.entry(frameOf(id, 2, 1, writes...)))[0])
	for i, r := range got {
		want := answered{Revision: int64(1002 + i)}
		switch {
		case i == 500:
			want = answered{Revision: 1501, Refusal: codeEmptyKey}
		case i > 500:
			want.Revision--
		}
		if r != want {
			t.Fatalf("put %d: %+v, want %+v", i, r, want)
		}
	}
}

// TestSessionKeepsResults: results are kept until they are acknowledged, within
// bounds, and each is recorded once.
func TestSessionKeepsResults(t *testing.T) {
	fs := vfs.NewMem()
	m, l, id := startSessions(t, fs)
	put := envelope.Write{Op: envelope.WritePut, Key: []byte("k")}
	large := envelope.Write{Op: envelope.WriteTxn, Txn: marshalled(&pb.TxnRequest{Success: []*pb.RequestOp{{
		Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("large")}}}}})}
	apply(t, m, l.entry(request(t, &pb.PutRequest{Key: []byte("large"), Value: bytes.Repeat([]byte("x"), 30_000)})))
	sequence := uint64(0)
	next := func(acknowledged uint64, writes ...envelope.Write) {
		t.Helper()
		sequence++
		decodeResults(t, apply(t, m, l.entry(frameOf(id, sequence, acknowledged, writes...)))[0])
	}
	kept := func(first uint64) {
		t.Helper()
		for range 2 { // again after a restart
			for _, again := range []uint64{first - 1, first, sequence} {
				result := apply(t, m, l.entry(frameOf(id, again, 0)))[0]
				if err, _ := result.(error); errors.Is(err, statemachine.ErrSequencePast) != (again < first) {
					t.Errorf("%d of %d: %v", again, sequence, result)
				}
			}
			records, err := m.Records(keys.SessionResults)
			if err != nil || len(records) != int(sequence-first) {
				t.Errorf("%d records of results, %v, want %d", len(records), err, sequence-first)
			}
			before := m.SessionBytes()
			closeMachine(t, m)
			m = openAt(t, fs, "m")
			if after := m.SessionBytes(); after != before {
				t.Errorf("%d bytes of results, %d after a restart", before, after)
			}
		}
	}
	for range 10 {
		next(0, put)
	}
	kept(1)
	next(7, put)
	kept(8)
	next(100, put) // nobody can have what is not there yet
	kept(12)
	for range 300 {
		next(11, put)
	}
	kept(sequence - 255)
	for range 10 {
		next(11, large)
	}
	kept(sequence - 3) // 4 of 30,000 bytes fit into 128 KiB
	next(sequence, large, large)
	result := apply(t, m, l.entry(frameOf(id, sequence, 0)))[0]
	if err, _ := result.(error); !errors.Is(err, statemachine.ErrResultNotKept) {
		t.Errorf("a result that is too large: %v", result)
	}
	apply(t, m, l.entry(closeSession(id, 0)))
	for _, table := range []keys.Table{keys.Sessions, keys.SessionResults} {
		if records, err := m.Records(table); err != nil || len(records) > 0 {
			t.Errorf("left of the session: %v, %v", records, err)
		}
	}
	if n := m.SessionBytes(); n != 0 {
		t.Errorf("%d bytes are accounted for", n)
	}
	closeMachine(t, m)
}

// TestSessionsBytesMax: results that take too much together evict the sessions
// that were not used for longest, never the one in use.
func TestSessionsBytesMax(t *testing.T) {
	m, l, first := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	m.SetSessionsBytesMax(2500)
	opened := apply(t, m, l.entry(openSession(), openSession()))
	second, third := opened[0].(*statemachine.SessionOpened).ID, opened[1].(*statemachine.SessionOpened).ID
	refusals := slices.Repeat([]envelope.Write{{Op: envelope.WriteRefused, Refusal: 19}, {Op: envelope.WritePut, Key: []byte("k")}}, 80)
	use := func(id, sequence uint64) any { return apply(t, m, l.entry(frameOf(id, sequence, 0, refusals...)))[0] }
	use(first, 1)
	use(second, 1)
	decodeResults(t, use(third, 1))
	if err, _ := use(first, 2).(error); !errors.Is(err, statemachine.ErrSessionUnknown) {
		t.Errorf("the first session is still there, with %d bytes of results", m.SessionBytes())
	}
	for sequence := uint64(2); sequence < 10; sequence++ {
		decodeResults(t, use(third, sequence))
	}
	if err, _ := use(second, 2).(error); !errors.Is(err, statemachine.ErrSessionUnknown) {
		t.Errorf("the second session is still there, with %d bytes of results", m.SessionBytes())
	}
	if n := m.SessionBytes(); n < 2500 {
		t.Errorf("the session in use has lost results: %d bytes", n)
	}
}

// TestForeignSession: a session is its user's alone; a leader's decision that it
// expired needs no user, but its term.
func TestForeignSession(t *testing.T) {
	m, l, _ := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	as := func(user string, c envelope.Command) []byte { c.User = user; return envelope.EncodeCommand(c) }
	id := apply(t, m, l.entry(as("ann", envelope.Command{Kind: envelope.KindSessionOpen})))[0].(*statemachine.SessionOpened).ID
	put := as("ann", envelope.Command{Kind: envelope.KindPut, Session: id, Sequence: 1, Body: marshalled(&pb.PutRequest{Key: []byte("k")})})
	closing := func(user string, term uint64) []byte {
		return as(user, envelope.Command{Kind: envelope.KindSessionClose, Body: envelope.SessionClose{Session: id, Term: term}.Encode()})
	}
	for i, step := range []struct {
		command []byte
		want    error
	}{
		{note(t, id, 1), statemachine.ErrSessionForeign},
		{put, nil},
		{closing("bob", 0), statemachine.ErrSessionForeign},
		{closing("", 0), statemachine.ErrSessionForeign},
		{closing("", 1), statemachine.ErrSessionTerm},
		{closing("", 3), statemachine.ErrSessionTerm},
		{put, nil},
		{closing("", 2), nil},
		{put, statemachine.ErrSessionUnknown},
	} {
		result := apply(t, m, l.entry(step.command))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, result, step.want)
		}
	}
}

// TestMalformedFrameIsFatal: as any entry that cannot be decoded.
func TestMalformedFrameIsFatal(t *testing.T) {
	for name, body := range map[string][]byte{
		"frame":       {0xff},
		"write":       {18, 2, 10, 9},
		"transaction": {18, 6, 10, 4, 50, 2, 10, 9},
	} {
		m, l, _ := startSessions(t, vfs.NewMem())
		_, err := m.Apply([]*raftpb.Entry{l.entry(envelope.EncodeCommand(envelope.Command{Kind: envelope.KindFrame, Body: body}))}, nil)
		if !errors.Is(err, statemachine.ErrMalformedEntry) {
			t.Errorf("%s: %v", name, err)
		}
		closeMachine(t, m)
	}
}
