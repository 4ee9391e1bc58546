package oracle

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// liar is a wrong implementation: the right one, but for the first answer that
// the lie can change.
type liar struct {
	Member
	lie  func(o Operation, a *Answer) (told bool)
	told *Operation
}

func (l *liar) Do(ctx context.Context, o Operation) Answer {
	a := l.Member.Do(ctx, o)
	if l.told == nil && l.lie(o, &a) {
		l.told = &o
	}
	return a
}

// TestPlantedAnswersAreCaught: one wrong answer, and the oracle names the
// operation.
func TestPlantedAnswersAreCaught(t *testing.T) {
	lies := map[string]func(o Operation, a *Answer) bool{
		"count off by one": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.RangeResponse)
			if ok {
				r.Count++
			}
			return ok
		},
		"two keys swapped": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.RangeResponse)
			if ok = ok && len(r.Kvs) > 1; ok {
				r.Kvs[0], r.Kvs[1] = r.Kvs[1], r.Kvs[0]
			}
			return ok
		},
		"more forgotten": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.RangeResponse)
			told := ok && r.More
			if told {
				r.More = false
			}
			return told
		},
		"a version too high": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.RangeResponse)
			if ok = ok && len(r.Kvs) > 0; ok {
				r.Kvs[0].Version++
			}
			return ok
		},
		"a key twice in a stream": func(o Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.RangeResponse)
			if ok = ok && o.Method == RangeStream && len(r.Kvs) > 0; ok {
				r.Kvs = append(r.Kvs, r.Kvs[0])
			}
			return ok
		},
		"an older revision in the header": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.PutResponse)
			if ok {
				r.Header.Revision--
			}
			return ok
		},
		"no cluster id": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.PutResponse)
			if ok {
				r.Header.ClusterId = 0
			}
			return ok
		},
		"a member id in a nested header": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.TxnResponse)
			if ok = ok && r.Responses != nil && r.Responses[0].GetResponsePut() != nil; ok {
				r.Responses[0].GetResponsePut().Header.MemberId = 7
			}
			return ok
		},
		"no previous key": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.DeleteRangeResponse)
			if ok = ok && r.PrevKvs != nil; ok {
				r.PrevKvs = nil
			}
			return ok
		},
		"the other branch": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.TxnResponse)
			if ok {
				r.Succeeded = !r.Succeeded
			}
			return ok
		},
		"another hash": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.HashKVResponse)
			if ok {
				r.Hash++
			}
			return ok
		},
		"a hash of another compaction": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.HashKVResponse)
			if ok {
				r.CompactRevision++
			}
			return ok
		},
		"an alarm not listed": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.AlarmResponse)
			if ok = ok && r.Alarms != nil; ok {
				r.Alarms = nil
			}
			return ok
		},
		"an alarm that status forgot": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.StatusResponse)
			if ok = ok && r.Errors != nil; ok {
				r.Errors = nil
			}
			return ok
		},
		"another text": func(_ Operation, a *Answer) bool {
			if a.Code == codes.OK {
				return false
			}
			a.Text += "."
			return true
		},
		"another code": func(_ Operation, a *Answer) bool {
			if a.Code == codes.OK {
				return false
			}
			a.Code = codes.Unknown
			return true
		},
		"a refusal": func(_ Operation, a *Answer) bool {
			*a = Answer{Code: codes.Unavailable, Text: "busy"}
			return true
		},
		"an answer instead of a refusal": func(o Operation, a *Answer) bool {
			if a.Code == codes.OK || o.Method != Range {
				return false
			}
			*a = Answer{Response: &pb.RangeResponse{}}
			return true
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &liar{lie: lie}
			o := startPair(t)
			o.Wrap(func(m Member) Member { l.Member = m; return l })
			asked, d := o.Run(t.Context(), served(1), 1000, NewTally())
			switch {
			case l.told == nil:
				t.Fatal("the lie was never told")
			case d == nil:
				t.Fatalf("nobody noticed: %s {%s}", l.told.Method, render(l.told.Request))
			case l.told.Request != d.Operation.Request:
				t.Fatalf("noticed too late, or something else differs:\n%s", d)
			}
			text := report(1, len(asked), d)
			for _, part := range []string{"seed 1, operation", render(d.Operation.Request), d.Etcd.String(), d.RaftKV.String(), "-start=1 -seeds=1 -ops="} {
				if !strings.Contains(text, part) {
					t.Errorf("the report does not say %q:\n%s", part, text)
				}
			}
		})
	}
}

// secretly is a wrong implementation that changes state behind right answers.
type secretly struct {
	Member
	act  func(o Operation) *Operation
	done bool
}

func (s *secretly) Do(ctx context.Context, o Operation) Answer {
	a := s.Member.Do(ctx, o)
	if a.Code != codes.OK || s.done {
		return a
	}
	if extra := s.act(o); extra != nil {
		s.done = s.Member.Do(ctx, *extra).Code == codes.OK
	}
	return a
}

// TestPlantedStateIsCaught: a wrong state shows in later answers.
func TestPlantedStateIsCaught(t *testing.T) {
	for name, act := range map[string]func(o Operation) *Operation{
		"a put applied twice": func(o Operation) *Operation {
			if o.Method != Put {
				return nil
			}
			return &o
		},
		"a compaction too far": func(o Operation) *Operation {
			r, ok := o.Request.(*pb.CompactionRequest)
			if !ok {
				return nil
			}
			return &Operation{Compact, &pb.CompactionRequest{Revision: r.Revision + 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &secretly{act: act}
			o := startPair(t)
			o.Wrap(func(m Member) Member { s.Member = m; return s })
			_, d := o.Run(t.Context(), served(2), 1000, NewTally())
			if !s.done || d == nil {
				t.Fatalf("done: %v; difference: %v", s.done, d)
			}
		})
	}
}

// TestMaskHidesNothingElse: whatever the mask leaves equal was equal but for
// the numbers it lists.
func TestMaskHidesNothingElse(t *testing.T) {
	answer := func(h *pb.ResponseHeader, nested *pb.ResponseHeader) Answer {
		return Answer{Response: &pb.TxnResponse{Header: h, Responses: []*pb.ResponseOp{{
			Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: nested}},
		}}}}
	}
	full := func() *pb.ResponseHeader {
		return &pb.ResponseHeader{ClusterId: 5, MemberId: 6, Revision: 7, RaftTerm: 8}
	}
	other := &pb.ResponseHeader{ClusterId: 15, MemberId: 16, Revision: 7, RaftTerm: 18}
	before := answer(full(), full())
	kept := proto.Clone(before.Response)
	if !equal(Mask(before), Mask(answer(other, other))) {
		t.Error("identities of clusters were compared")
	}
	if !proto.Equal(before.Response, kept) {
		t.Error("the mask changed the answer itself")
	}
	for name, change := range map[string]func(h *pb.ResponseHeader){
		"cluster id": func(h *pb.ResponseHeader) { h.ClusterId = 0 },
		"member id":  func(h *pb.ResponseHeader) { h.MemberId = 0 },
		"raft term":  func(h *pb.ResponseHeader) { h.RaftTerm = 0 },
		"revision":   func(h *pb.ResponseHeader) { h.Revision++ },
	} {
		changed := full()
		change(changed)
		if equal(Mask(before), Mask(answer(changed, full()))) || equal(Mask(before), Mask(answer(full(), changed))) {
			t.Errorf("a changed %s was masked", name)
		}
	}
	if equal(Mask(before), Mask(answer(full(), nil))) {
		t.Error("a missing header was masked")
	}
}

// TestMaskOfMaintenance: sizes and numbers of a log may differ, but have to be
// there; alarms may come in any order, but the same ones.
func TestMaskOfMaintenance(t *testing.T) {
	full := func(n int64) *pb.StatusResponse {
		return &pb.StatusResponse{Version: "v", DbSize: n, DbSizeInUse: n, Leader: uint64(n), RaftTerm: uint64(n),
			RaftIndex: uint64(n), RaftAppliedIndex: uint64(n), Errors: []string{"a", "b"}}
	}
	other := full(7)
	other.StorageVersion, other.Errors = "3.7.0", []string{"b", "a"}
	if !equal(Mask(Answer{Response: full(5)}), Mask(Answer{Response: other})) {
		t.Error("sizes, numbers of a log or the order of errors were compared")
	}
	for name, change := range map[string]func(r *pb.StatusResponse){
		"no size":       func(r *pb.StatusResponse) { r.DbSize = 0 },
		"no leader":     func(r *pb.StatusResponse) { r.Leader = 0 },
		"no term":       func(r *pb.StatusResponse) { r.RaftTerm = 0 },
		"no index":      func(r *pb.StatusResponse) { r.RaftIndex = 0 },
		"not applied":   func(r *pb.StatusResponse) { r.RaftAppliedIndex = 0 },
		"an error less": func(r *pb.StatusResponse) { r.Errors = r.Errors[:1] },
		"a version":     func(r *pb.StatusResponse) { r.Version = "w" },
		"a quota":       func(r *pb.StatusResponse) { r.DbSizeQuota = 1 },
		"a learner":     func(r *pb.StatusResponse) { r.IsLearner = true },
	} {
		changed := full(5)
		change(changed)
		if equal(Mask(Answer{Response: full(5)}), Mask(Answer{Response: changed})) {
			t.Errorf("%s was masked", name)
		}
	}
	alarms := func(ids ...uint64) Answer {
		r := &pb.AlarmResponse{}
		for _, id := range ids {
			r.Alarms = append(r.Alarms, &pb.AlarmMember{MemberID: id, Alarm: pb.AlarmType_CORRUPT})
		}
		return Mask(Answer{Response: r})
	}
	if !equal(alarms(1, 2), alarms(2, 1)) || equal(alarms(1, 2), alarms(1, 1)) || equal(alarms(1), alarms(1, 2)) {
		t.Error("alarms are to be compared as a set")
	}
}
