package server

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"raftkv/client"
	"raftkv/statemachine"
)

// TestSessionsOverMembers: increments of many callers are applied once each while
// the member that they are sent to stops and another leads; what is sent to the
// others comes to the leader; a session that nobody uses ends.
func TestSessionsOverMembers(t *testing.T) {
	c := newCluster(t, 3, true)
	for i := range c.configs {
		c.configs[i].SessionTTL = time.Second
	}
	c.startAll()
	var endpoints []string
	for i := range c.configs {
		endpoints = append(endpoints, strings.TrimPrefix(c.configs[i].ListenClientURLs[0], "http://"))
	}
	native, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	session, err := native.NewSession(client.SessionConfig{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	const callers, each = 20, 25
	var all sync.WaitGroup
	half := make(chan struct{}, callers)
	for i := range callers {
		all.Go(func() {
			for n := range each {
				if _, err := session.Increment(t.Context(), []byte("n"), 1); err != nil {
					t.Error(err)
				}
				if n == each/2 {
					half <- struct{}{}
				}
				key := fmt.Appendf(nil, "k%d", i)
				if _, err := session.Put(t.Context(), key, key); err != nil {
					t.Error(err)
				}
				if v, found, err := session.Get(t.Context(), key); err != nil || !found || string(v.Bytes) != string(key) {
					t.Errorf("read %q, %t, %v", v.Bytes, found, err)
				}
			}
		})
	}
	for range callers {
		<-half
	}
	for i, s := range c.servers {
		if s.Status().Leader == s.memberID {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			c.servers[i] = nil
			break
		}
	}
	all.Wait()
	if v, _, err := session.Get(t.Context(), []byte("n")); err != nil || string(v.Bytes) != strconv.Itoa(callers*each) {
		t.Errorf("%s after %d increments, %v", v.Bytes, callers*each, err)
	}
	// It is still open, and nobody uses it.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for open := 1; open > 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the session does not expire")
		}
		open = 0
		for _, s := range c.servers {
			if s == nil {
				continue
			}
			if err := s.rooms.machine.EachSession(func(statemachine.SessionUse) error { open++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sum, err := session.Increment(t.Context(), []byte("n"), 1); err != nil || sum != callers*each+1 {
		t.Errorf("behind the end of the session: %d, %v", sum, err)
	}
	session.Close()
	if err := native.Close(); err != nil {
		t.Error(err)
	}
	c.stop()
}
