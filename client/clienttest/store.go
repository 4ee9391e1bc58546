package clienttest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// state holds the keys of one revision. A state in the history never changes,
// nor do the pairs in it.
type state map[string]*mvccpb.KeyValue

// store keeps every state there was. Revision 1 is the empty one.
type store struct {
	mu      sync.Mutex
	history []state // history[i] belongs to revision i+1
	// compacted is the newest revision that was compacted, alarms are active.
	compacted int64
	alarms    []*pb.AlarmMember
}

func newStore() *store { return &store{history: []state{{}}} }

func (s *store) revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revisionLocked()
}

func (s *store) revisionLocked() int64 { return int64(len(s.history)) }

// write is one transaction under way: it changes a copy of the newest state.
type write struct {
	state    state
	revision int64 // of the changes, if there are any
	changed  bool
}

func (s *store) beginLocked() *write {
	return &write{state: maps.Clone(s.history[len(s.history)-1]), revision: s.revisionLocked() + 1}
}

// endLocked adds the new state to the history if it differs, and returns the
// newest revision.
func (s *store) endLocked(w *write) int64 {
	if w.changed {
		s.history = append(s.history, w.state)
	}
	return s.revisionLocked()
}

func (w *write) put(key, value []byte) {
	pair := &mvccpb.KeyValue{Key: key, Value: value, CreateRevision: w.revision, ModRevision: w.revision, Version: 1}
	if old := w.state[string(key)]; old != nil {
		pair.CreateRevision, pair.Version = old.GetCreateRevision(), old.GetVersion()+1
	}
	w.state[string(key)] = pair
	w.changed = true
}

func (w *write) delete(key, rangeEnd []byte) int64 {
	keys := w.state.keys(key, rangeEnd)
	for _, k := range keys {
		delete(w.state, k)
	}
	w.changed = w.changed || len(keys) > 0
	return int64(len(keys))
}

func (s *store) put(req *pb.PutRequest) (revision int64, err error) {
	if len(req.GetKey()) == 0 {
		return 0, rpctypes.ErrGRPCEmptyKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.beginLocked()
	w.put(req.GetKey(), req.GetValue())
	return s.endLocked(w), nil
}

func (s *store) append(key, value []byte) (revision, length int64, err error) {
	if len(key) == 0 {
		return 0, 0, rpctypes.ErrGRPCEmptyKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.beginLocked()
	value = slices.Concat(w.state[string(key)].GetValue(), value)
	w.put(key, value)
	return s.endLocked(w), int64(len(value)), nil
}

func (s *store) delete(req *pb.DeleteRangeRequest) (revision, deleted int64, err error) {
	if len(req.GetKey()) == 0 {
		return 0, 0, rpctypes.ErrGRPCEmptyKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.beginLocked()
	deleted = w.delete(req.GetKey(), req.GetRangeEnd())
	return s.endLocked(w), deleted, nil
}

func (s *store) compact(at int64) (revision int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case at <= s.compacted:
		return 0, rpctypes.ErrGRPCCompacted
	case at > s.revisionLocked():
		return 0, rpctypes.ErrGRPCFutureRev
	}
	s.compacted = at
	return s.revisionLocked(), nil
}

func (s *store) arm(a *pb.AlarmMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms = append(s.alarms, a)
}

func (s *store) active() []*pb.AlarmMember {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.alarms)
}

// disarm returns the alarm if it was active.
func (s *store) disarm(req *pb.AlarmRequest) (ended []*pb.AlarmMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms = slices.DeleteFunc(slices.Clone(s.alarms), func(a *pb.AlarmMember) bool {
		if a.GetMemberID() == req.GetMemberID() && a.GetAlarm() == req.GetAlarm() {
			ended = append(ended, a)
			return true
		}
		return false
	})
	return ended
}

func (s *store) read(req *pb.RangeRequest) (*pb.RangeResponse, int64, error) {
	if len(req.GetKey()) == 0 {
		return nil, 0, rpctypes.ErrGRPCEmptyKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.revisionLocked()
	if req.GetRevision() > at {
		return nil, 0, rpctypes.ErrGRPCFutureRev
	}
	if req.GetRevision() > 0 {
		at = req.GetRevision()
	}
	if at < s.compacted {
		return nil, 0, rpctypes.ErrGRPCCompacted
	}
	return s.history[at-1].read(req), s.revisionLocked(), nil
}

func (s state) read(req *pb.RangeRequest) *pb.RangeResponse {
	keys := s.keys(req.GetKey(), req.GetRangeEnd())
	resp := &pb.RangeResponse{Count: int64(len(keys))}
	if req.GetCountOnly() {
		return resp
	}
	if n := req.GetLimit(); n > 0 && n < int64(len(keys)) {
		keys, resp.More = keys[:n], true
	}
	for _, k := range keys {
		pair := proto.Clone(s[k]).(*mvccpb.KeyValue)
		if req.GetKeysOnly() {
			pair.Value = nil
		}
		resp.Kvs = append(resp.Kvs, pair)
	}
	return resp
}

// keys returns the keys of [key, rangeEnd) in order, with etcd's meaning of the
// end: none for one key, "\x00" for no end.
func (s state) keys(key, rangeEnd []byte) []string {
	var keys []string
	for k := range s {
		in := k >= string(key) && (string(rangeEnd) == "\x00" || k < string(rangeEnd))
		if len(rangeEnd) == 0 {
			in = k == string(key)
		}
		if in {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *store) txn(req *pb.TxnRequest) (*pb.TxnResponse, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.beginLocked()
	resp := &pb.TxnResponse{Succeeded: true}
	for _, c := range req.GetCompare() {
		resp.Succeeded = resp.Succeeded && w.state.holds(c)
	}
	ops := req.GetSuccess()
	if !resp.Succeeded {
		ops = req.GetFailure()
	}
	for _, op := range ops {
		r, err := w.execute(op)
		if err != nil {
			return nil, 0, err
		}
		resp.Responses = append(resp.Responses, r)
	}
	return resp, s.endLocked(w), nil
}

func (w *write) execute(op *pb.RequestOp) (*pb.ResponseOp, error) {
	switch r := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: w.state.read(r.RequestRange)}}, nil
	case *pb.RequestOp_RequestPut:
		w.put(r.RequestPut.GetKey(), r.RequestPut.GetValue())
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}, nil
	case *pb.RequestOp_RequestDeleteRange:
		n := w.delete(r.RequestDeleteRange.GetKey(), r.RequestDeleteRange.GetRangeEnd())
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{Deleted: n}}}, nil
	}
	return nil, status.Errorf(codes.InvalidArgument, "the fake store does not know %T in a transaction", op.GetRequest())
}

// holds evaluates a comparison. A missing key has version and revisions 0 and
// no value, which compares unequal to every value.
func (s state) holds(c *pb.Compare) bool {
	pair := s[string(c.GetKey())]
	var order int
	switch c.GetTarget() {
	case pb.Compare_VERSION:
		order = cmp.Compare(pair.GetVersion(), c.GetVersion())
	case pb.Compare_CREATE:
		order = cmp.Compare(pair.GetCreateRevision(), c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(pair.GetModRevision(), c.GetModRevision())
	case pb.Compare_LEASE:
		order = cmp.Compare(pair.GetLease(), c.GetLease())
	case pb.Compare_VALUE:
		if pair == nil {
			return false
		}
		order = bytes.Compare(pair.GetValue(), c.GetValue())
	}
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_LESS:
		return order < 0
	default:
		return order > 0
	}
}
