package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hung is a member one of whose parts does not end until release is closed.
func hung() (s *Server, release chan struct{}) {
	s, release = &Server{events: newEvents(), done: make(chan struct{})}, make(chan struct{})
	close(s.events.ended) // nobody runs them here
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.background.Go(func() { <-release })
	return s, release
}

// A room that failed may never end; the member says so and does not wait for it.
func TestAFailedMemberLeavesAHungPartBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := hung()
		defer synctest.Wait()
		defer close(release)
		s.fail(errors.New("disk full"))
		began := time.Now()
		err := s.close()
		if err == nil || !strings.Contains(err.Error(), "left behind") {
			t.Errorf("%v does not say that something was left behind", err)
		}
		if took := time.Since(began); took != giveUpTime {
			t.Errorf("gave up after %v, want %v", took, giveUpTime)
		}
	})
}

// Without a failure a stop waits for as long as it takes.
func TestAnOrdinaryStopWaitsForEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := hung()
		s.fail(nil)
		time.AfterFunc(10*giveUpTime, func() { close(release) })
		began := time.Now()
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 10*giveUpTime {
			t.Errorf("returned after %v, before all parts had ended", took)
		}
	})
}
