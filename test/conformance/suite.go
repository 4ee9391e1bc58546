package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Run builds everything and runs the chosen tests. The error is about the
// means (builds, namespaces, the list); failed tests are in the summary.
func Run(ctx context.Context, o Options) (sum Summary, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return sum, err
	}
	list, err := ParseList(testsTxt)
	if err != nil {
		return sum, fmt.Errorf("tests.txt: %w", err)
	}
	if err := SandboxMeans(ctx); err != nil {
		return sum, err
	}
	dir, err := os.MkdirTemp("", "raftkv-conformance-")
	if err != nil {
		return sum, fmt.Errorf("a directory for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := build(ctx, o, dir)
	if err != nil {
		return sum, err
	}
	names, err := s.names(ctx)
	if err != nil {
		return sum, err
	}
	if err := list.CheckComplete(names); err != nil {
		return sum, err
	}
	chosen := o.choose(list)
	if len(chosen) == 0 {
		return sum, errors.New("no test of the suite matches")
	}
	sum = runner{o, s, list, dir}.all(ctx, chosen)
	sum.LeftOut = len(list.Tests) - len(chosen)
	sum.print(o.Out, o.Strict)
	return sum, ctx.Err()
}

// runner is what every test of a run needs.
type runner struct {
	Options
	suite
	list List
	dir  string // of the run
}

// all runs Parallel tests at a time, in the list's order.
func (r runner) all(ctx context.Context, chosen []string) Summary {
	var mu sync.Mutex // guards sum and r.Out
	var sum Summary
	began := time.Now()
	queue := make(chan string)
	var workers sync.WaitGroup
	for range r.Parallel {
		workers.Go(func() {
			for name := range queue {
				result := r.test(ctx, name)
				mu.Lock()
				sum.add(result)
				result.print(r.Out)
				mu.Unlock()
			}
		})
	}
	for _, name := range chosen {
		if ctx.Err() != nil {
			break
		}
		queue <- name
	}
	close(queue)
	workers.Wait()
	sum.Took = time.Since(began)
	return sum
}
