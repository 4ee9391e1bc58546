package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// History is what the Hub reads of the state. A *statemachine.Machine is one.
type History interface {
	Revision() int64
	History(from int64, limits statemachine.HistoryLimits, want func(key []byte) bool) (statemachine.History, error)
	Previous(changes []statemachine.Change) ([]*statemachine.KeyValue, error)
}

// ProgressIntervalMin is the shortest interval of progress messages.
const ProgressIntervalMin = 100 * time.Millisecond

// Config sets up a Hub.
type Config struct {
	// ProgressInterval is how long a watch that wants to hear of progress goes
	// without an event before it does. Default 10 min, at least
	// ProgressIntervalMin.
	ProgressInterval time.Duration
	// BufferBytesMax bounds the events in the queues of all streams together.
	// Default 64 MiB.
	BufferBytesMax int64
	// HistoryBytesMax bounds what the streams that are behind hold of the
	// history, all together. Default 64 MiB.
	HistoryBytesMax int64
	// QueueRevisionsMax and QueueBytesMax bound what Apply has handed over and
	// the Hub has not handed out. Default 64 Ki and 16 MiB.
	QueueRevisionsMax, QueueBytesMax int64
	Logger                           *zap.Logger
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	if c.ProgressInterval == 0 {
		c.ProgressInterval = 10 * time.Minute
	}
	if c.BufferBytesMax == 0 {
		c.BufferBytesMax = 64 << 20
	}
	if c.HistoryBytesMax == 0 {
		c.HistoryBytesMax = 64 << 20
	}
	if c.QueueRevisionsMax == 0 {
		c.QueueRevisionsMax = 64 << 10
	}
	if c.QueueBytesMax == 0 {
		c.QueueBytesMax = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	// As etcd: adjusted, not refused.
	if c.ProgressInterval > 0 && c.ProgressInterval < ProgressIntervalMin {
		c.Logger.Warn("adjusting watch progress notify interval to minimum period",
			zap.Duration("min-watch-progress-notify-interval", ProgressIntervalMin))
		c.ProgressInterval = ProgressIntervalMin
	}
}

// Validate reports every faulty value.
func (c *Config) Validate() error {
	var faults []error
	if c.ProgressInterval < 0 {
		faults = append(faults, fmt.Errorf("watch: ProgressInterval %v must not be negative", c.ProgressInterval))
	}
	for _, bound := range []struct {
		name  string
		value int64
	}{
		{"BufferBytesMax", c.BufferBytesMax}, {"HistoryBytesMax", c.HistoryBytesMax},
		{"QueueRevisionsMax", c.QueueRevisionsMax}, {"QueueBytesMax", c.QueueBytesMax},
	} {
		if bound.value < 1 {
			faults = append(faults, fmt.Errorf("watch: %s %d must be positive", bound.name, bound.value))
		}
	}
	return errors.Join(faults...)
}

// interval is the progress interval of one stream: spread, so that streams that
// were opened together are not woken together.
func (c *Config) interval() time.Duration {
	return c.ProgressInterval + rand.N(max(1, c.ProgressInterval/10))
}

// Bounds that nobody has to set.
const (
	// batchesMax bounds the batches that wait for the Hub.
	batchesMax = 1024
	// bundleBytesMax is where the events of several revisions for one watcher
	// are divided into messages.
	bundleBytesMax = 256 << 10
	// The queue of a stream: so many messages, some for every watcher, and bytes.
	queueMessagesMin       = 1024
	queueMessagesByWatcher = 8
	queueBytesMax          = 1 << 20
	// controlsMax bounds the answers that wait in the queue of a stream.
	controlsMax = 16
	// mergeAbove is the length of a queue above which neighbouring messages of
	// one watcher become one.
	mergeAbove = 32
	// turnMax is how many messages of the queue go before a piece of history of
	// the watchers of the same stream that are behind.
	turnMax = 64
	// A piece of history: so many changes are looked at, and its bytes between
	// these bounds, depending on how many streams are behind.
	pieceScanMax                 = 10_000
	pieceBytesMin, pieceBytesMax = 4 << 10, 512 << 10
	// readsMax bounds how many streams read history at once.
	readsMax = 4
	// blockedTime is when handing a batch over counts as having blocked Apply:
	// well above what a loaded machine does to any goroutine.
	blockedTime = time.Second
)
