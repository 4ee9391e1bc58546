package server

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"raftkv/rpc/feed"
	"raftkv/server/watch"
)

func (s *Server) newWatches() (*watch.Hub, error) {
	bytes := planMemory(s.cfg.MemoryBudgetBytes).watchBytes
	return watch.New(watch.Config{
		ProgressInterval: s.cfg.WatchProgressNotifyInterval,
		BufferBytesMax:   bytes, HistoryBytesMax: bytes, QueueBytesMax: max(1, bytes/2),
		Logger: s.cfg.Logger.Named("watch"),
	})
}

func (b backend) Watches() feed.Source { return b.s.watches }

func (s *Server) watchMetrics() error {
	of := func(f func(watch.Stats) float64) func() float64 {
		return func() float64 { return f(s.watches.Stats()) }
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		gauge("etcd_debugging_mvcc_watch_stream_total", "Watch streams.", of(func(w watch.Stats) float64 { return float64(w.Streams) })),
		gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", of(func(w watch.Stats) float64 { return float64(w.Watchers) })),
		gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind and read history.", of(func(w watch.Stats) float64 { return float64(w.Behind) })),
		counter("etcd_debugging_mvcc_events_total", "Events sent by this member.", of(func(w watch.Stats) float64 { return float64(w.Events) })),
		gauge("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent.", of(func(w watch.Stats) float64 { return float64(w.Pending) })),
		gauge("raftkv_watch_buffered_bytes", "Size of the events that wait to be sent.", of(func(w watch.Stats) float64 { return float64(w.HeldBytes) })),
		gauge("raftkv_watch_queued_revisions", "Applied revisions that wait to be handed out to watchers.", of(func(w watch.Stats) float64 { return float64(w.QueuedRevisions) })),
		gauge("raftkv_watch_queued_bytes", "Size of the changes of these revisions.", of(func(w watch.Stats) float64 { return float64(w.QueuedBytes) })),
		counter("raftkv_watch_skipped_batches_total", "Applied batches that found that queue full and were left to the history.", of(func(w watch.Stats) float64 { return float64(w.SkippedBatches) })),
		counter("raftkv_watch_caught_up_revisions_total", "Revisions read from the history for watchers that keep up, since their batch was not there.", of(func(w watch.Stats) float64 { return float64(w.CaughtUpRevisions) })),
		counter("raftkv_watch_spills_total", "Times that a stream did not keep up and was made to read history.", of(func(w watch.Stats) float64 { return float64(w.Spills) })),
		counter("raftkv_watch_apply_blocked_total", "Times that handing an applied batch over took a second or more. Nothing in it waits for a watcher.", of(func(w watch.Stats) float64 { return float64(w.ApplyBlocked) })),
	} {
		errs = append(errs, s.cfg.Registry.Register(c))
	}
	return errors.Join(errs...)
}
