package statemachine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
)

// hotHistory is what each key was at each revision; "" if it did not exist.
type hotHistory struct {
	mu    sync.Mutex
	names []string
	at    map[string][]string // by revision
}

func (h *hotHistory) change(key, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range h.names {
		list := h.at[name]
		next := list[len(list)-1]
		if name == key {
			next = value
		}
		h.at[name] = append(list, next)
	}
}

func (h *hotHistory) want(key string, revision int64) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[key][revision]
}

// TestHotReadsBesideWrites: whatever is read of keys that are read and written all the
// time is what they were at the revision of the answer, and that is no older than what
// was visible before the read. History is compacted and swept meanwhile.
func TestHotReadsBesideWrites(t *testing.T) {
	m, l := start(t), newLog(t)
	h := &hotHistory{at: map[string][]string{}}
	for i := range 8 {
		h.names = append(h.names, fmt.Sprint("k", i))
		h.at[h.names[i]] = []string{"", ""} // at revisions 0 and 1
	}
	var visible atomic.Int64
	visible.Store(m.Revision())
	var readers sync.WaitGroup
	done := make(chan struct{})
	for n := range 3 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readHot(t, m, h, r, visible.Load()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 1000 {
		var commands [][]byte
		for range r.IntN(40) {
			key := h.names[r.IntN(len(h.names))]
			newest := h.at[key][len(h.at[key])-1]
			var req proto.Message = &pb.PutRequest{Key: []byte(key), Value: fmt.Append(nil, i)}
			if newest != "" && r.IntN(3) == 0 {
				req = &pb.DeleteRangeRequest{Key: []byte(key)}
				h.change(key, "")
			} else {
				h.change(key, fmt.Sprint(i))
			}
			commands = append(commands, request(t, req))
		}
		if i%100 == 50 {
			commands = append(commands, request(t, &pb.CompactionRequest{Revision: int64(len(h.at["k0"]) - 2)}))
		}
		apply(t, m, l.entry(commands...))
		visible.Store(m.Revision())
		if i%100 == 70 {
			sweep(t, m, 50)
		}
	}
	close(done)
	readers.Wait()
}

func readHot(t *testing.T, m *statemachine.Machine, h *hotHistory, r *rand.Rand, visible int64) error {
	key := h.names[r.IntN(len(h.names))]
	got, revision := "", int64(0)
	if r.IntN(2) == 0 {
		resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte(key)})
		if err != nil {
			return err
		}
		revision = resp.GetHeader().GetRevision()
		for _, kv := range resp.GetKvs() {
			got = string(kv.GetValue())
		}
	} else {
		var err error
		revision, err = m.GetKeys([][]byte{[]byte(key)}, func(_ int, kv *statemachine.KeyValue) error {
			if kv != nil {
				got = string(kv.Value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if want := h.want(key, revision); got != want || revision < visible {
		return fmt.Errorf("%s is %q at revision %d, want %q, and %d was visible before", key, got, revision, want, visible)
	}
	return nil
}

// TestHotAnswersLikeTheDatabase: whatever a request asks for, the answer is that of a
// machine that remembers nothing.
func TestHotAnswersLikeTheDatabase(t *testing.T) {
	m, l := start(t), newLog(t)
	o := options(t, vfs.NewMem())
	o.HotBytes = 1
	cold, err := statemachine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeMachine(t, cold)
	if err := cold.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	g := &generator{r: r}
	for range 150 {
		e := l.entry(request(t, g.write(m.Revision())), request(t, g.write(m.Revision())))
		apply(t, m, e)
		apply(t, cold, e)
		for range 40 {
			req := g.rangeRequest(m.Revision())
			if r.IntN(2) == 0 {
				req.RangeEnd = nil
			}
			if r.IntN(2) == 0 {
				req.Revision = 0
			}
			for range 3 { // remembered by then
				got, err := m.Range(t.Context(), req)
				want, wantErr := cold.Range(t.Context(), req)
				if fmt.Sprint(err) != fmt.Sprint(wantErr) || !proto.Equal(got, want) {
					t.Fatalf("%v: %v, %v; want %v, %v", req, got, err, want, wantErr)
				}
			}
		}
	}
}
