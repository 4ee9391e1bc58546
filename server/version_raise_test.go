package server

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"raftkv/rpc/peer"
	"raftkv/statemachine"
)

// TestClusterVersionRises: a cluster of older programs gets the newer version when
// the last of its members has been replaced by a newer program, and not before;
// then older ones are refused.
func TestClusterVersionRises(t *testing.T) {
	const older = statemachine.NewestVersion - 1
	c := newCluster(t, 3, false)
	for i := range c.configs {
		c.configs[i].newest = older
	}
	c.startAll()
	all := func(v statemachine.Version) func() bool {
		return func() bool {
			for _, s := range c.servers {
				if s.rooms.machine.ClusterVersion() != v {
					return false
				}
			}
			return true
		}
	}
	c.until("the older version", all(older))
	for i := range c.configs {
		if err := c.servers[i].Stop(); err != nil {
			t.Fatal(err)
		}
		c.configs[i].newest = 0
		c.start(i)
		c.waitReady(c.servers[i])
		if i == len(c.configs)-1 {
			break
		}
		// Long enough for a leader that does not wait for all to have raised it.
		for _, s := range c.servers {
			until(t, "heard of the others", func() bool { _, heard := s.commonVersion(); return heard })
			if common, _ := s.commonVersion(); common != older {
				t.Fatalf("with %d members upgraded, all are said to know %s", i+1, common)
			}
		}
		if !all(older)() {
			t.Fatalf("raised with %d of 3 members upgraded", i+1)
		}
	}
	c.until("the newer version", all(statemachine.NewestVersion))

	t.Run("an older node joins", func(t *testing.T) {
		cfg := c.newcomer("4")
		cfg.newest, cfg.Join = older, c.configs[0].ListenClientURLs[0]
		s, err := Start(t.Context(), cfg)
		if err == nil {
			_ = s.Stop()
		}
		if !errors.Is(err, ErrOldVersion) || !strings.Contains(err.Error(), "start it with a newer one") {
			t.Errorf("it was answered %v", err)
		}
		if _, err := os.Stat(cfg.DataDir); !os.IsNotExist(err) {
			t.Errorf("there is a data directory (%v)", err)
		}
		if n := len(c.servers[0].rooms.machine.Members()); n != 3 {
			t.Errorf("there are %d members", n)
		}
	})
	t.Run("an older program comes back", func(t *testing.T) {
		if err := c.servers[2].Stop(); err != nil {
			t.Fatal(err)
		}
		c.configs[2].newest = older
		c.start(2)
		s := c.servers[2]
		c.servers[2] = nil
		select {
		case <-s.Done():
		case <-time.After(30 * time.Second):
			t.Error("the member goes on")
		}
		if err := s.Stop(); !errors.Is(err, ErrOldVersion) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestSilentProgramsCountAsTheFirst: what says nothing of what it knows is of the
// time before members said it.
func TestSilentProgramsCountAsTheFirst(t *testing.T) {
	for known, want := range map[statemachine.Version]bool{0: true, firstVersion: true, firstVersion - 1: false, firstVersion + 1: true} {
		if err := newEnough(firstVersion, known); (err == nil) != want {
			t.Errorf("%s in a cluster at %s: %v", known, firstVersion, err)
		}
	}
	if err := newEnough(firstVersion+1, 0); !errors.Is(err, ErrOldVersion) {
		t.Errorf("a silent one in a newer cluster: %v", err)
	}
	if err := newEnough(0, 0); err != nil {
		t.Errorf("a cluster without a version: %v", err)
	}
}

// TestMembersThatWereAwayMeetTheOthers: a member comes back when everybody in its
// table of members is gone for good, and finds those that took their places.
func TestMembersThatWereAwayMeetTheOthers(t *testing.T) {
	c := newCluster(t, 3, false)
	for i := range c.configs {
		c.configs[i].LaxReconfigCheck = true
	}
	c.startAll()
	away := c.servers[2]
	if err := away.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"4", "5"} {
		cfg := c.newcomer(name)
		cfg.LaxReconfigCheck = true
		cfg.Join = c.configs[0].ListenClientURLs[0]
		s := c.join(cfg)
		c.until("a voter", s.isVoter)
	}
	for i, gone := range c.servers[:2] {
		c.until("removed", func() bool {
			_, err := c.client(4).MemberRemove(t.Context(), gone.memberID)
			return err == nil || strings.Contains(err.Error(), "member not found")
		})
		c.servers[i] = nil
		if err := gone.Stop(); err != nil && !errors.Is(err, ErrRemoved) { // which it may have learnt already
			t.Fatal(err)
		}
	}
	c.start(2)
	back := c.servers[2]
	c.waitReady(back)
	c.until("it has the others in its table", func() bool {
		for _, s := range c.servers[3:] {
			if !containsMember(back.rooms.machine.Members(), s.memberID) {
				return false
			}
		}
		return len(back.rooms.machine.Members()) == 3
	})
}

// TestStrangersAreNotBelievedForEver: who was met counts only until the table has
// the last word.
func TestStrangersAreNotBelievedForEver(t *testing.T) {
	table := []statemachine.Member{{ID: 1, Incarnation: 10}, {ID: 2}}
	met := introduced{{ID: 1}, {ID: 3}, {ID: 4}}
	got := withStrangers(table, []uint64{4}, &met)
	if len(got) != 3 || got[0].Incarnation != 10 || got[2].ID != 3 {
		t.Errorf("members are %+v", got)
	}
	if got := withStrangers(table, nil, nil); len(got) != 2 {
		t.Errorf("members are %+v", got)
	}
}

// TestStrangersOfAnotherCluster: a stranger that is not who it says to be, or is
// not there, is not believed.
func TestStrangersOfAnotherCluster(t *testing.T) {
	c := newCluster(t, 1, true)
	c.startAll()
	s := c.servers[0]
	for _, stranger := range []peer.Caller{
		{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}},
		{ID: 7, PeerURLs: s.peerURLs()}, // where another member answers
		{ID: 7},
	} {
		until(t, "the last question is over", func() bool { return !s.meeting.Load() })
		s.meetStranger(stranger)
	}
	until(t, "the last question is over", func() bool { return !s.meeting.Load() })
	if s.met.Load() != nil || len(s.members()) != 1 {
		t.Errorf("members are %+v", s.members())
	}
}
