package oracle

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Watch and WatchClose are methods of one of several watch streams, which
// follows the slash: Watch sends a request and collects what there is to
// receive, WatchClose collects and closes the stream.
const (
	Watch      Method = "Watch/"
	WatchClose Method = "WatchClose/"
)

const (
	// watchTimeout is far above what either member takes to deliver events.
	watchTimeout = 15 * time.Second
	// etcd forgets a question for progress while any watch of the stream reads
	// history, which it begins every 100 ms. One is asked only when that is
	// probably over, and then not soon again, because a second answer that comes
	// late would be taken for one to the next question.
	historyWait      = 130 * time.Millisecond
	progressInterval = 500 * time.Millisecond
	// lateWait is how long a late answer is waited for.
	lateWait = 200 * time.Millisecond
)

// on is the method of a stream.
func (m Method) on(stream int) Method { return m + Method(strconv.Itoa(stream)) }

// watches tells a method of a watch stream, and of which.
func (m Method) watches() (base Method, stream int, ok bool) {
	at := strings.IndexByte(string(m), '/')
	if at < 0 {
		return m, 0, false
	}
	base = m[:at+1]
	stream, err := strconv.Atoi(string(m[at+1:]))
	return base, stream, err == nil && (base == Watch || base == WatchClose)
}

// watching are the watch streams of one member. They belong to the one
// operation under way.
type watching struct {
	conn    grpc.ClientConnInterface
	streams map[int]*watchStream
}

// do runs an operation on a watch stream.
//
// It answers all that the stream receives up to the newest revision: if it can,
// it asks for progress until the stream says that it has come that far. It
// cannot while a watch waits for a future revision or was ended by a
// compaction, because etcd then answers no progress; the answer is then what
// answers the request itself, and the rest stays for later.
func (w *watching) do(ctx context.Context, o Operation) Answer {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	base, n, _ := o.Method.watches()
	request := o.Request.(*pb.WatchRequest)
	s := w.streams[n]
	if s == nil {
		if request.GetCreateRequest() == nil {
			return Answer{}
		}
		var err error
		if s, err = openWatchStream(w.conn); err != nil {
			return answerOf(nil, err)
		}
		w.streams[n] = s
	}
	answer, err := s.do(ctx, w.conn, base, request)
	if err != nil || base == WatchClose {
		s.close()
		delete(w.streams, n)
	}
	if err != nil {
		return answerOf(nil, err)
	}
	return answer
}

func (w *watching) close() {
	for _, s := range w.streams {
		s.close()
	}
}

// watchStream is one stream and what it has received.
type watchStream struct {
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing more is received
	// live are the watches that are not cancelled, by id.
	live map[int64]liveWatch
	// history: a watch that reads history was made since the stream settled.
	history bool

	arrived chan struct{} // has an element when something has been received
	mu      sync.Mutex
	// received is what no answer contains yet, err what ended the stream.
	received []*pb.WatchResponse
	err      error
}

type liveWatch struct {
	start     int64
	compacted bool // ended by a compaction
}

func openWatchStream(conn grpc.ClientConnInterface) (*watchStream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &watchStream{stream: stream, cancel: cancel, ended: make(chan struct{}),
		live: map[int64]liveWatch{}, arrived: make(chan struct{}, 1)}
	go s.receive()
	return s, nil
}

func (s *watchStream) receive() {
	defer close(s.ended)
	for err := error(nil); err == nil; {
		var r *pb.WatchResponse
		r, err = s.stream.Recv()
		s.mu.Lock()
		if s.err = err; err == nil {
			s.received = append(s.received, r)
		}
		s.mu.Unlock()
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
}

func (s *watchStream) close() {
	s.cancel()
	<-s.ended
}

func (s *watchStream) do(ctx context.Context, conn grpc.ClientConnInterface, base Method, request *pb.WatchRequest) (Answer, error) {
	newest, err := revisionOf(ctx, conn)
	if err != nil {
		return Answer{}, err
	}
	var answer Answer
	settle := func() error {
		if !s.settles(newest) {
			return nil
		}
		responses, err := s.settle(ctx, newest)
		answer.Watched = append(answer.Watched, responses...)
		return err
	}
	direct := func(what string, match func(r *pb.WatchResponse) bool) (*pb.WatchResponse, error) {
		r, err := s.await(ctx, what, match)
		if err == nil {
			answer.Watched = append(answer.Watched, r)
		}
		return r, err
	}
	// What comes before a watch ends is an answer by itself.
	if err := settle(); err != nil || base == WatchClose {
		return answer, err
	}
	switch {
	case request.GetCreateRequest() != nil:
		err = s.create(ctx, conn, request, direct)
	case request.GetCancelRequest() != nil:
		err = s.cancelWatch(request, direct)
	}
	if err == nil && request.GetProgressRequest() == nil {
		err = settle()
	}
	return answer, err
}

type awaiter func(what string, match func(r *pb.WatchResponse) bool) (*pb.WatchResponse, error)

func (s *watchStream) create(ctx context.Context, conn grpc.ClientConnInterface, request *pb.WatchRequest, await awaiter) error {
	if err := s.stream.Send(request); err != nil {
		return s.failure(err)
	}
	created, err := await("created", func(r *pb.WatchResponse) bool { return r.Created })
	if err != nil || created.Canceled {
		return err
	}
	id, start := created.WatchId, request.GetCreateRequest().GetStartRevision()
	w := liveWatch{start: start}
	if start > 0 {
		_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, Revision: start, CountOnly: true, Serializable: true})
		if w.compacted = strings.Contains(status.Convert(err).Message(), "has been compacted"); w.compacted {
			_, err := await("ended by the compaction", func(r *pb.WatchResponse) bool { return r.Canceled && r.WatchId == id })
			if err != nil {
				return err
			}
		}
	}
	s.live[id] = w
	s.history = s.history || start > 0 && !w.compacted
	return nil
}

func (s *watchStream) cancelWatch(request *pb.WatchRequest, await awaiter) error {
	if err := s.stream.Send(request); err != nil {
		return s.failure(err)
	}
	id := request.GetCancelRequest().GetWatchId()
	if _, ok := s.live[id]; !ok {
		return nil // there is no answer
	}
	delete(s.live, id)
	_, err := await("cancelled", func(r *pb.WatchResponse) bool { return r.Canceled && r.WatchId == id })
	return err
}

// failure is why the stream ended, if it did.
func (s *watchStream) failure(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.err, err)
}

// await takes the first response that matches.
func (s *watchStream) await(ctx context.Context, what string, match func(r *pb.WatchResponse) bool) (*pb.WatchResponse, error) {
	for {
		s.mu.Lock()
		at, err := slices.IndexFunc(s.received, match), s.err
		var r *pb.WatchResponse
		if at >= 0 {
			r = s.received[at]
			s.received = slices.Delete(s.received, at, at+1)
		}
		s.mu.Unlock()
		if r != nil || err != nil {
			return r, err
		}
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return nil, status.Errorf(codes.DeadlineExceeded, "oracle: no watch response: %s", what)
		}
	}
}

// settles tells whether the stream can say that it is at revision newest.
func (s *watchStream) settles(newest int64) bool {
	for _, w := range s.live {
		if w.compacted || w.start > newest {
			return false
		}
	}
	return len(s.live) > 0
}

// settle receives everything up to revision newest.
func (s *watchStream) settle(ctx context.Context, newest int64) ([]*pb.WatchResponse, error) {
	come := func(r *pb.WatchResponse) bool { return isProgress(r) && r.GetHeader().GetRevision() >= newest }
	if s.history {
		if err := s.pause(ctx, historyWait); err != nil {
			return nil, err
		}
	}
	s.take(isProgress) // late ones
	progress := watchProgress(0).Request.(*pb.WatchRequest)
	for question := 1; ; question++ {
		if err := s.stream.Send(progress); err != nil {
			return nil, s.failure(err)
		}
		asked, cancel := context.WithTimeout(ctx, progressInterval)
		_, err := s.await(asked, "progress", come)
		again := asked.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			s.history = false
			responses := s.take(func(*pb.WatchResponse) bool { return true })
			if question > 1 {
				err = s.pause(ctx, lateWait)
			}
			if err != nil {
				return nil, err
			}
			return regroup(slices.DeleteFunc(responses, isProgress))
		case !again:
			return nil, err
		}
	}
}

// pause waits while the stream goes on receiving.
func (s *watchStream) pause(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-s.ended:
		return s.failure(nil)
	case <-ctx.Done():
		return nil
	}
}

// take removes what matches from what was received.
func (s *watchStream) take(match func(r *pb.WatchResponse) bool) (taken []*pb.WatchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.received[:0:0]
	for _, r := range s.received {
		if match(r) {
			taken = append(taken, r)
		} else {
			rest = append(rest, r)
		}
	}
	s.received = rest
	return taken
}

func isProgress(r *pb.WatchResponse) bool {
	return !r.Created && !r.Canceled && len(r.Events) == 0 && r.WatchId == -1
}

func revisionOf(ctx context.Context, conn grpc.ClientConnInterface) (int64, error) {
	// Not refused by any alarm.
	r, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return r.GetHeader().GetRevision(), err
}

// regroup brings responses into a form in which two members can be compared:
// the responses of each watch in their order, one for each revision, without
// the header, which tells how far the store was when it was sent. An error says
// that they break what the watch service promises.
func regroup(responses []*pb.WatchResponse) ([]*pb.WatchResponse, error) {
	slices.SortStableFunc(responses, func(a, b *pb.WatchResponse) int { return cmp.Compare(a.WatchId, b.WatchId) })
	var grouped []*pb.WatchResponse
	var last *pb.WatchResponse // of the same watch, events only
	for _, r := range responses {
		if len(r.Events) == 0 {
			grouped, last = append(grouped, r), nil
			continue
		}
		if last != nil && last.WatchId != r.WatchId {
			last = nil
		}
		first, end := eventRevision(r.Events[0]), eventRevision(r.Events[len(r.Events)-1])
		if last != nil && !last.Fragment && eventRevision(last.Events[len(last.Events)-1]) == first {
			return nil, status.Errorf(codes.DataLoss, "oracle: watch %d: revision %d comes in two responses", r.WatchId, first)
		}
		if revision := r.GetHeader().GetRevision(); revision < end {
			return nil, status.Errorf(codes.DataLoss, "oracle: watch %d: events of revision %d under revision %d", r.WatchId, end, revision)
		}
		for _, e := range r.Events {
			group := len(grouped) - 1
			if group < 0 || grouped[group].WatchId != r.WatchId || len(grouped[group].Events) == 0 ||
				eventRevision(grouped[group].Events[0]) != eventRevision(e) {
				grouped = append(grouped, &pb.WatchResponse{WatchId: r.WatchId})
				group++
			}
			grouped[group].Events = append(grouped[group].Events, e)
		}
		last = r
	}
	return grouped, nil
}

func eventRevision(e *mvccpb.Event) int64 { return e.GetKv().GetModRevision() }
