package server

import (
	"slices"
	"testing"
)

// Whatever the transport's peers are, afterwards they are the other members.
func TestReconcile(t *testing.T) {
	c := newCluster(t, 3, true)
	c.start(0)
	s := c.servers[0]
	var want []uint64
	for _, m := range s.rooms.machine.Members() {
		if m.ID != s.memberID {
			want = append(want, m.ID)
		}
	}
	slices.Sort(want)
	check := func(when string) {
		t.Helper()
		got := s.transport.Peers()
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("%s the peers are %x, want %x", when, got, want)
		}
	}
	check("after the start")

	const foreign = 77
	if err := s.transport.AddPeer(foreign, []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	s.transport.RemovePeer(want[1])
	if err := s.transport.UpdatePeer(want[0], []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	s.membersChanged()
	check("after a change")
	c.start(1)
	c.start(2)
	for _, s := range c.servers {
		c.waitReady(s) // the first one needs the URLs that were right
	}
}
