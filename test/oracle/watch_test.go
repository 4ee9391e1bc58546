package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

func event(revision int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: revision}}
}

func watched(id, header int64, fragment bool, revisions ...int64) *pb.WatchResponse {
	r := &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: header}, WatchId: id, Fragment: fragment}
	for _, revision := range revisions {
		r.Events = append(r.Events, event(revision))
	}
	return r
}

// TestRegroup: how events are distributed over responses does not matter, as
// long as each revision comes whole.
func TestRegroup(t *testing.T) {
	show := func(responses []*pb.WatchResponse) string {
		var parts []string
		for _, r := range responses {
			part := fmt.Sprint(r.WatchId)
			for _, e := range r.Events {
				part += fmt.Sprint(",", eventRevision(e))
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, " ")
	}
	for _, c := range []struct {
		responses []*pb.WatchResponse
		want      string
	}{
		{[]*pb.WatchResponse{watched(1, 5, false, 3, 3, 4), watched(1, 5, false, 5)}, "1,3,3 1,4 1,5"},
		{[]*pb.WatchResponse{watched(2, 5, false, 3), watched(1, 5, false, 3), watched(2, 5, false, 4)}, "1,3 2,3 2,4"},
		{[]*pb.WatchResponse{watched(1, 5, true, 3), watched(1, 5, false, 3, 4)}, "1,3,3 1,4"},
		// The order is compared as it is, and so is what comes twice.
		{[]*pb.WatchResponse{watched(1, 5, false, 4, 3)}, "1,4 1,3"},
		{[]*pb.WatchResponse{watched(1, 5, false, 3), watched(1, 5, false), watched(1, 5, false, 3)}, "1,3 1 1,3"},
	} {
		got, err := regroup(c.responses)
		if err != nil || show(got) != c.want {
			t.Errorf("got %q, %v; want %q", show(got), err, c.want)
		}
	}
	for want, responses := range map[string][]*pb.WatchResponse{
		"revision 3 comes in two responses":   {watched(1, 5, false, 3), watched(1, 5, false, 3)},
		"events of revision 4 under revision": {watched(1, 3, false, 3, 4)},
	} {
		if _, err := regroup(responses); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestPlantedWatchesAndLeasesAreCaught: one wrong answer of an otherwise equal
// etcd, and the oracle names the operation.
func TestPlantedWatchesAndLeasesAreCaught(t *testing.T) {
	// response finds one to lie about.
	response := func(a *Answer, fits func(r *pb.WatchResponse) bool, lie func(at int)) bool {
		at := slices.IndexFunc(a.Watched, fits)
		if at >= 0 {
			lie(at)
		}
		return at >= 0
	}
	events := func(n int) func(r *pb.WatchResponse) bool {
		return func(r *pb.WatchResponse) bool { return len(r.Events) >= n }
	}
	for name, lie := range map[string]func(o Operation, a *Answer) bool{
		"an event lost": func(_ Operation, a *Answer) bool {
			return response(a, events(1), func(at int) { a.Watched[at].Events = a.Watched[at].Events[1:] })
		},
		"a revision lost": func(_ Operation, a *Answer) bool {
			return response(a, events(1), func(at int) { a.Watched = slices.Delete(a.Watched, at, at+1) })
		},
		"a revision twice": func(_ Operation, a *Answer) bool {
			return response(a, events(1), func(at int) { a.Watched = slices.Insert(a.Watched, at, a.Watched[at]) })
		},
		"events of a revision swapped": func(_ Operation, a *Answer) bool {
			return response(a, events(2), func(at int) { slices.Reverse(a.Watched[at].Events) })
		},
		"two revisions swapped": func(_ Operation, a *Answer) bool {
			for i := 1; i < len(a.Watched); i++ {
				if before, r := a.Watched[i-1], a.Watched[i]; before.WatchId == r.WatchId && len(before.Events) > 0 && len(r.Events) > 0 {
					a.Watched[i-1], a.Watched[i] = r, before
					return true
				}
			}
			return false
		},
		"no previous key value": func(_ Operation, a *Answer) bool {
			previous := func(r *pb.WatchResponse) bool { return len(r.Events) > 0 && r.Events[0].PrevKv != nil }
			return response(a, previous, func(at int) { a.Watched[at].Events[0].PrevKv = nil })
		},
		"a put for a deletion": func(_ Operation, a *Answer) bool {
			deletion := func(r *pb.WatchResponse) bool { return len(r.Events) > 0 && r.Events[0].Type == mvccpb.Event_DELETE }
			return response(a, deletion, func(at int) { a.Watched[at].Events[0].Type = mvccpb.Event_PUT })
		},
		"another revision of a compaction": func(_ Operation, a *Answer) bool {
			ended := func(r *pb.WatchResponse) bool { return r.CompactRevision > 0 }
			return response(a, ended, func(at int) { a.Watched[at].CompactRevision++ })
		},
		"another id": func(_ Operation, a *Answer) bool {
			made := func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled }
			return response(a, made, func(at int) { a.Watched[at].WatchId++ })
		},
		"another reason": func(_ Operation, a *Answer) bool {
			refused := func(r *pb.WatchResponse) bool { return r.CancelReason != "" }
			return response(a, refused, func(at int) { a.Watched[at].CancelReason += "." })
		},
		"a cancellation lost": func(o Operation, a *Answer) bool {
			ended := func(r *pb.WatchResponse) bool {
				return o.Request.(*pb.WatchRequest).GetCancelRequest() != nil && r.Canceled
			}
			return response(a, ended, func(at int) { a.Watched = slices.Delete(a.Watched, at, at+1) })
		},
		"a key of a lease lost": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.LeaseTimeToLiveResponse)
			if ok = ok && len(r.Keys) > 0; ok {
				r.Keys = r.Keys[1:]
			}
			return ok
		},
		"an unknown lease known": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.LeaseTimeToLiveResponse)
			if ok = ok && r.TTL == -1; ok {
				r.TTL = 5
			}
			return ok
		},
		"an hour of a lease lost": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.LeaseTimeToLiveResponse)
			if ok = ok && r.TTL > 0; ok {
				r.TTL -= runSecondsMax
			}
			return ok
		},
		"a lease not listed": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.LeaseLeasesResponse)
			if ok = ok && len(r.Leases) > 0; ok {
				r.Leases = r.Leases[1:]
			}
			return ok
		},
		"a lease not kept alive": func(_ Operation, a *Answer) bool {
			r, ok := a.Response.(*pb.LeaseKeepAliveResponse)
			if ok = ok && r.TTL > 0; ok {
				r.TTL = 0
			}
			return ok
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := startBeside(t.Context(), func(dir string) (Member, error) { return StartEtcd(t.Context(), dir) })
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			l := &liar{lie: func(o Operation, a *Answer) bool {
				_, _, watches := o.Method.watches()
				return (watches || a.Response != nil) && lie(o, a)
			}}
			o.Wrap(func(m Member) Member { l.Member = m; return l })
			_, d := o.Run(t.Context(), NewGenerator(1), 3000, NewTally())
			switch {
			case l.told == nil:
				t.Fatal("the lie was never told")
			case d == nil:
				t.Fatalf("nobody noticed: %s {%s}", l.told.Method, render(l.told.Request))
			case l.told.Request != d.Operation.Request:
				t.Fatalf("noticed too late, or something else differs:\n%s", d)
			}
		})
	}
}

// TestWatchesMayBeClosedAnywhere: a stream that is not open has nothing to say.
func TestWatchesMayBeClosedAnywhere(t *testing.T) {
	w := watching{streams: map[int]*watchStream{}}
	for _, o := range []Operation{watchClose(0), watchProgress(1), {Watch.on(2), watchCancel(1)}} {
		if a := w.do(context.Background(), o); a.Code != 0 || len(a.Watched) != 0 {
			t.Errorf("%s: %v", o.Method, a)
		}
	}
}
