package sim

import (
	"strings"
	"testing"
)

// TestPlantedBugs shows that the checks find each planted bug within a few
// seeds, and by the check that is meant to find it.
func TestPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		opts  Options
		seeds uint64
		text  string
	}{
		{Options{Planted: AcknowledgeBeforeDurable}, 2, "(invariant 1)"},
		{Options{Planted: SkippedFsync}, 2, "(invariant 1)"},
		{Options{Planted: ForgottenVote}, 2, "(invariant 1)"},
		{Options{Planted: StaleRead}, 2, "not linearizable"},
		{Options{Planted: AppliedTwice}, 2, "was applied twice"},
		{Options{Planted: SecondLife, Scenario: LostDirectory}, 4, "leader completeness"},
		{Options{Planted: SkippedInstall}, 2, "watch: "},
		{Options{Planted: LateRevocation, Scenario: PausedLeaders}, 4, "was revoked for its age"},
		{Options{Planted: WithoutSession}, 2, "increments of frame"},
		{Options{Planted: StoppedClocks, Scenario: LeaseReads}, 8, "not linearizable"},
		{Options{Planted: RunawayClocks, Scenario: LeaseReads}, 8, "not linearizable"},
		{Options{Planted: ForgottenPromise, Scenario: LeaseReads}, 12, "not linearizable"},
		{Options{Planted: EarlyCandidacy}, 2, "sends MsgVote of term"},
		{Options{Planted: EndlessPatience, Scenario: SlowFollowers}, 2, "has waited for member"},
		// Without a look inside the consequences show as well: acknowledged writes
		// are lost, or members that contradict each other never come to rest.
		{Options{Planted: AcknowledgeBeforeDurable, OnlyConsequences: true, Scenario: Blackouts}, 8, ""},
		{Options{Planted: SkippedFsync, OnlyConsequences: true, Scenario: Blackouts}, 8, "lost an acknowledged write"},
		{Options{Planted: SecondLife, OnlyConsequences: true, Scenario: LostDirectory}, 4, "not linearizable"},
	} {
		name := c.opts.Planted.String()
		if c.opts.OnlyConsequences {
			name += ", consequences"
		}
		t.Run(name, func(t *testing.T) {
			for c.opts.Seed = 1; c.opts.Seed <= c.seeds; c.opts.Seed++ {
				_, err := try(t, c.opts)
				if err == nil {
					continue
				}
				t.Logf("seed %d: %.200v", c.opts.Seed, err)
				if strings.Contains(err.Error(), c.text) {
					return
				}
			}
			t.Errorf("not found as %q in %d seeds", c.text, c.seeds)
		})
	}
}
