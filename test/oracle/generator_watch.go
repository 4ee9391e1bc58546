package oracle

import (
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The watch streams. On the last two are watches that keep a stream from
// telling its progress, one at a time: of future revisions, and of compacted
// ones.
const (
	sharedStreams   = 2
	futureStream    = sharedStreams
	compactedStream = sharedStreams + 1
	watchStreams    = sharedStreams + 2
)

// sharedWatchesMax bounds the watches of a stream.
const sharedWatchesMax = 8

// watchStreamState is what is known of a stream.
type watchStreamState struct {
	watches map[int64]bool // not cancelled, by id
	start   int64          // of the one watch of a future revision
}

func (w *watchStreamState) ids() []int64 { return slices.Sorted(maps.Keys(w.watches)) }

// watchOp is a request on one of the watch streams.
func (g *Generator) watchOp() Operation {
	switch g.pick(80, 10, 10) {
	case 0:
		return g.sharedWatchOp(g.rng.IntN(sharedStreams))
	case 1:
		state := &g.streams[futureStream]
		switch {
		case len(state.watches) == 0:
			state.start = g.revision + 1 + g.rng.Int64N(40)
			return Operation{Watch.on(futureStream), g.watchCreate(state.start)}
		case state.start <= g.revision && g.percent(60):
			return watchProgress(futureStream)
		case state.start <= g.revision || g.percent(15):
			return watchClose(futureStream)
		default:
			return Operation{Watch.on(futureStream), watchCancel(state.ids()[0])}
		}
	default:
		if g.compacted < 2 || len(g.streams[compactedStream].watches) > 0 {
			return watchClose(compactedStream)
		}
		return Operation{Watch.on(compactedStream), g.watchCreate(1 + g.rng.Int64N(g.compacted-1))}
	}
}

func (g *Generator) sharedWatchOp(stream int) Operation {
	state := &g.streams[stream]
	create := 30
	if len(state.watches) >= sharedWatchesMax {
		create = 0
	}
	switch g.pick(create, 45, 20, 3) {
	case 0:
		start := int64(0)
		switch g.pick(45, 45, 5, 5) {
		case 1:
			start = g.pastRevision()
		case 2:
			start = max(g.compacted, 1)
		case 3:
			start = -1 - g.rng.Int64N(3)
		}
		return Operation{Watch.on(stream), g.watchCreate(start)}
	case 1:
		return watchProgress(stream)
	case 2:
		id := g.rng.Int64N(20) - 2
		if ids := state.ids(); len(ids) > 0 && g.percent(85) {
			id = ids[g.rng.IntN(len(ids))]
		}
		return Operation{Watch.on(stream), watchCancel(id)}
	default:
		return watchClose(stream)
	}
}

func (g *Generator) watchCreate(start int64) *pb.WatchRequest {
	create := &pb.WatchCreateRequest{StartRevision: start, PrevKv: g.percent(40), Fragment: g.percent(40), ProgressNotify: g.percent(10)}
	create.Key, create.RangeEnd = g.span()
	if g.percent(15) {
		create.Filters = append(create.Filters, pb.WatchCreateRequest_FilterType(g.rng.IntN(2)))
	}
	if g.percent(3) {
		create.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE, pb.WatchCreateRequest_NOPUT}
	}
	if g.percent(30) { // often one that exists
		create.WatchId = g.rng.Int64N(12)
	}
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}
}

func watchCancel(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

func watchClose(stream int) Operation { return Operation{WatchClose.on(stream), &pb.WatchRequest{}} }

// observeWatch learns which watches a stream has.
func (g *Generator) observeWatch(a Answer) {
	base, stream, ok := g.last.Method.watches()
	if !ok {
		return
	}
	state := &g.streams[stream]
	if state.watches == nil || base == WatchClose {
		state.watches = map[int64]bool{}
	}
	for _, r := range a.Watched {
		switch {
		case r.Created && !r.Canceled:
			state.watches[r.WatchId] = true
		case r.Canceled && r.CompactRevision == 0:
			delete(state.watches, r.WatchId)
		}
	}
}
