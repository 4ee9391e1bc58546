package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// probeEvery is a light load of 200 writes a second, and the resolution of an
	// outage.
	probeEvery = 5 * time.Millisecond
	// probeTimeout limits one write.
	probeTimeout = 2 * time.Second
	probesMax    = int(probeTimeout / probeEvery)
	probeKeys    = 100
)

// prober writes at a fixed rate by etcd's client library, which knows all
// members, and tells when writes are acknowledged.
type prober struct {
	client *clientv3.Client
	cancel context.CancelFunc
	done   sync.WaitGroup
	slots  chan struct{}
	mu     struct {
		sync.Mutex
		acknowledged int64
		since        time.Time
		first        chan time.Time // nil: nobody waits
	}
}

func startProber(endpoints []string) (*prober, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: probeTimeout, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{client: client, cancel: cancel, slots: make(chan struct{}, probesMax)}
	p.done.Go(func() { p.run(ctx) })
	return p, nil
}

func (p *prober) run(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case p.slots <- struct{}{}:
			p.done.Go(func() { p.probe(ctx, n); <-p.slots })
		default: // all wait for an answer: writes are late already
		}
	}
}

func (p *prober) probe(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	begun := time.Now()
	if _, err := p.client.Put(ctx, fmt.Sprintf("probe/%d", n%probeKeys), begun.String()); err != nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.acknowledged++
	if p.mu.first != nil && !begun.Before(p.mu.since) {
		p.mu.first <- now
		p.mu.first = nil
	}
}

// firstBegunAfter waits for the first acknowledgement of a write that was begun
// at since or later, and returns when it came.
func (p *prober) firstBegunAfter(ctx context.Context, since time.Time) (time.Time, error) {
	first := make(chan time.Time, 1)
	p.mu.Lock()
	p.mu.since, p.mu.first = since, first
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, recoveryTimeout)
	defer cancel()
	select {
	case at := <-first:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("waiting for a write to be acknowledged: %w", ctx.Err())
	}
}

func (p *prober) acknowledged() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.acknowledged
}

func (p *prober) close() error {
	p.cancel()
	p.done.Wait()
	if err := p.client.Close(); err != nil {
		return fmt.Errorf("closing the client: %w", err)
	}
	return nil
}
