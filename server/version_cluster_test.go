package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// until waits for what no channel tells.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestMembersPublish: all members come to know the cluster version and each
// other's incarnation, and name the version in what they propose.
func TestMembersPublish(t *testing.T) {
	c := newCluster(t, 3, true)
	c.startAll()
	for i, s := range c.servers {
		until(t, "cluster version and incarnations", func() bool {
			for _, other := range c.servers {
				for _, m := range s.rooms.machine.Members() {
					if m.ID == other.memberID && m.Incarnation != other.rooms.incarnation {
						return false
					}
				}
			}
			return s.rooms.machine.ClusterVersion() == statemachine.NewestVersion
		})
		e, err := envelope.Decode(s.pack(1, nil))
		if err != nil || e.ClusterVersion != uint32(statemachine.NewestVersion) {
			t.Errorf("member %d packs %+v, %v", i+1, e, err)
		}
		if got := (backend{s}).Versions(); got.Server != EtcdVersion || got.Cluster != "3.7.0" || got.Storage != "3.7.0" {
			t.Errorf("member %d tells clients %+v", i+1, got)
		}
		if got := (backend{s}).MemberStatus().Version; got != Version {
			t.Errorf("member %d has version %s", i+1, got)
		}
	}
}

// TestCopiedIdentityIsRefused: a member whose data directory is not the one
// that the cluster knows stops with an explanation.
func TestCopiedIdentityIsRefused(t *testing.T) {
	c := newCluster(t, 1, false)
	c.startAll()
	until(t, "published", c.servers[0].published)
	c.stop()
	path := filepath.Join(c.configs[0].DataDir, "member", "identity.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var identity map[string]json.RawMessage
	if err := json.Unmarshal(data, &identity); err != nil {
		t.Fatal(err)
	}
	identity["incarnation"] = json.RawMessage("7")
	if data, err = json.Marshal(identity); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), c.configs[0])
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Error("the member goes on")
	}
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "has already been bootstrapped") {
		t.Errorf("%v does not explain the refusal", err)
	}
}
