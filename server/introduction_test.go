package server

import (
	"strings"
	"testing"

	"raftkv/statemachine"
)

// TestMeetAgain: a member that knows one other, and one that is gone, learns of
// the third; nobody of another cluster is believed.
func TestMeetAgain(t *testing.T) {
	c := newCluster(t, 3, true)
	c.startAll()
	s := c.servers[0]
	members := s.rooms.machine.Members()
	known := []statemachine.Member{{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}}, members[1]}
	met, err := s.cfg.meetAgain(t.Context(), s.clusterID, 9, known)
	if err != nil || len(met) != 4 || met[0].ID != 7 || met[1].ID != members[1].ID {
		t.Fatalf("met %+v, %v", met, err)
	}
	for _, m := range members {
		found := false
		for _, k := range met {
			found = found || k.ID == m.ID && k.PeerURLs[0] == m.PeerURLs[0]
		}
		if !found {
			t.Errorf("member %x was not met: %+v", m.ID, met)
		}
	}
	if _, err := s.cfg.meetAgain(t.Context(), s.clusterID+1, 9, members); err == nil || !strings.Contains(err.Error(), "serves cluster") {
		t.Errorf("another cluster is believed: %v", err)
	}
}

// TestStayIntroduced: while there is no state, who was met counts.
func TestStayIntroduced(t *testing.T) {
	c := newCluster(t, 3, true)
	c.startAll()
	table := c.servers[0].rooms.machine.Members()
	cfg := c.configs[0]
	machine, err := statemachine.Open(statemachine.Options{Dir: t.TempDir(), OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &Server{cfg: cfg, rooms: &rooms{machine: machine}}
	s.admission.introduced = table[:1]
	if got := s.members(); len(got) != 1 {
		t.Fatalf("introduced to %+v", got)
	}
	met, err := cfg.meetAgain(t.Context(), c.servers[0].clusterID, 9, s.members())
	if err != nil {
		t.Fatal(err)
	}
	s.met.Store(&met)
	if got := s.members(); len(got) != 3 {
		t.Errorf("members are %+v", got)
	}
}
