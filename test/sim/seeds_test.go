package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// reportEnv names the file into which TestSeed writes its report, for TestSeeds.
const reportEnv = "RAFTKV_SIM_REPORT"

func writeReport(t *testing.T, path string, r Report) {
	data, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSeeds runs many seeds of one scenario, and asserts that enough happened in
// them. TestSameSeedSameTrace and others run in this process; these have one
// each, since raft's randomness is the process's.
func TestSeeds(t *testing.T) {
	scenario, err := ParseScenario(*scenarioFlag)
	if err != nil {
		t.Fatal(err)
	}
	runSeeds(t, scenario, 25)
}

// TestChangingMembers runs some of the scenario in which members come and go
// beside TestSeeds, and asserts that they did.
func TestChangingMembers(t *testing.T) { runSeeds(t, ChangingMembers, 8) }

// TestLeaseReads runs some of the scenario in which reads are answered by leases,
// on clocks that drift, and asserts that they were.
func TestLeaseReads(t *testing.T) { runSeeds(t, LeaseReads, 8) }

// TestSlowFollowers runs some of the scenario in which one follower after the other
// falls behind, and asserts that leaders waited for them as long as they may.
func TestSlowFollowers(t *testing.T) { runSeeds(t, SlowFollowers, 4) }

// runSeeds runs -seeds seeds, or as many as usual, and the regressions.
func runSeeds(t *testing.T, scenario Scenario, usual uint64) {
	if *seedsFlag > 0 {
		usual = *seedsFlag
	}
	var seeds []uint64
	for _, r := range regressions {
		if r.scenario == scenario {
			seeds = append(seeds, r.seed)
		}
	}
	for n := range usual {
		if seed := *startFlag + n; !slices.Contains(seeds, seed) {
			seeds = append(seeds, seed)
		}
	}
	began := time.Now()
	total, failed := inProcesses(t, scenario, seeds)
	if !t.Failed() {
		total.requireEnough(t, scenario, len(seeds))
	}
	t.Logf("%d seeds of %s in %s, %d failed: %+v", len(seeds), scenario, time.Since(began).Round(time.Second), failed, total)
}

// inProcesses runs each seed in a process, -workers at a time.
func inProcesses(t *testing.T, scenario Scenario, seeds []uint64) (total Report, failed int) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	dir, next := t.TempDir(), make(chan uint64)
	for worker := range max(*workersFlag, 1) {
		path := filepath.Join(dir, fmt.Sprint(worker))
		workers.Go(func() {
			for seed := range next {
				began := time.Now()
				report, err := inProcess(t.Context(), scenario, seed, path)
				mu.Lock()
				if err != nil {
					failed++
					t.Error(err)
				} else {
					total.add(report)
					t.Logf("seed %d: ok in %s, %s of virtual time, %d events", seed, time.Since(began).Round(time.Millisecond), report.Virtual, report.Events)
				}
				mu.Unlock()
			}
		})
	}
	for _, seed := range seeds {
		next <- seed
	}
	close(next)
	workers.Wait()
	return total, failed
}

// inProcess runs one seed. Rare collections of garbage spend memory, of which one
// run has little, for time.
func inProcess(ctx context.Context, scenario Scenario, seed uint64, path string) (report Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return report, err
	}
	run := exec.CommandContext(ctx, self, "-test.run=^TestSeed$", "-test.timeout=0", fmt.Sprintf("-seed=%d", seed), "-scenario="+scenario.String())
	run.Env = append(os.Environ(), reportEnv+"="+path, "GOGC=400", "GOMAXPROCS=2")
	if output, err := run.CombinedOutput(); err != nil {
		return report, fmt.Errorf("seed %d: %w\n%s", seed, err, bytes.TrimSpace(output))
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &report)
	}
	if err == nil && report.Virtual < minDuration {
		err = fmt.Errorf("it lasted %s, at least %s were wanted", report.Virtual, minDuration)
	}
	if err != nil {
		return report, fmt.Errorf("seed %d: %w", seed, err)
	}
	return report, nil
}

// least is what a seed has to have of something, on the average.
type least struct {
	what    string
	got     int
	perSeed float64
}

// requireEnough fails if the runs were vacuous. The limits are a third to a half of
// what is usual. Few seeds say nothing of what is rare.
func (r *Report) requireEnough(t *testing.T, scenario Scenario, seeds int) {
	t.Helper()
	var all []least
	switch {
	case scenario == ChangingMembers:
		all = append(r.usually(0.5), r.ofMembers()...)
	case scenario == LeaseReads:
		all = r.ofLeaseReads()
	case scenario == SlowFollowers:
		all = r.ofSlowFollowers()
	case scenario == PausedLeaders && seeds >= 20:
		all = r.ofPausedLeaders(seeds)
	case scenario == RandomFaults && seeds >= 20:
		all = append(r.usually(1), r.ofFaults()...)
	}
	for _, c := range all {
		if float64(c.got) < c.perSeed*float64(seeds) {
			t.Errorf("%d %s in %d seeds: the runs do not test enough", c.got, c.what, seeds)
		}
	}
}

func (r *Report) usually(part float64) []least {
	return []least{
		{"acknowledged writes", r.Acknowledged, 1000 * part},
		{"linearizable reads", r.Reads, 700 * part},
		{"writes of unknown outcome", r.Unknown, 10 * part},
		{"elections", r.Elections, 4},
		{"kills", r.Kills, 5},
		{"power cuts", r.PowerCuts, 5},
		{"deaths inside of an operation", r.DeathsInside, 3},
		{"broken connections", r.Resets, 15},
		{"snapshot installs", r.Installs, 2},
		{"log releases", r.Releases, 50 * part},
		{"rewrites of the state's files", r.Compactions, 2},
		{"leases that expired", r.LeasesExpired, 10 * part},
		{"events of watches", r.WatchEvents, 3000},
		{"acknowledgements held back by who was behind with applying", r.AcksHeld, 100 * part},
		{"ticks in which a leader waited for who was behind", r.TicksWaited, 12 * part},
	}
}

// ofFaults is what comes of random faults alone.
func (r *Report) ofFaults() []least {
	return []least{
		{"pauses", r.Pauses, 1},
		{"slow disks", r.SlowDisks, 0.6},
		{"disks that hung", r.HungDisks, 1.5},
		{"slow appliers", r.SlowAppliers, 1.5},
		{"hand-overs because of a disk", r.DiskTransfers, 0.4},
		{"campaigns after a broken connection", r.Campaigns, 3},
		{"leases granted", r.LeasesGranted, 10},
		{"renewals of leases", r.LeasesRenewed, 15},
		{"renewals that needed no round of their own", r.LeasesRenewedNow, 1},
		{"recorded times of leases withdrawn", r.LeaseRecordsWithdrawn, 1},
		{"batches that watchers read from the history", r.WatchSkips, 200},
		{"removed directories", r.Removals, 0.05},
		{"refused second lives", r.Refusals, 0.05},
	}
}

// ofLeaseReads is what comes of leaders that others replace behind their backs.
func (r *Report) ofLeaseReads() []least {
	return []least{
		{"acknowledged writes", r.Acknowledged, 1000},
		{"linearizable reads", r.Reads, 1000},
		{"rounds of reads that a lease has confirmed", r.ReadsByLease, 500},
		{"switches of lease reads", r.LeaseSwitches, 5},
		{"elections", r.Elections, 10},
		{"pauses", r.Pauses, 2},
	}
}

// ofPausedLeaders is what comes of leaders that stand still, or their disks. Of those
// whose disks hang for long all but a few are replaced meanwhile, by a hand-over; the
// others are tried when nobody can take over.
func (r *Report) ofPausedLeaders(seeds int) []least {
	return []least{
		{"pauses", r.Pauses, 5},
		{"elections", r.Elections, 5},
		{"leaders whose disks hung for long", r.LeadersHung, 2},
		{"leaders replaced while their disks hung", r.LeadersReplaced, 0.97 * float64(r.LeadersHung) / float64(seeds)},
	}
}

// ofSlowFollowers is what comes of followers that fall behind.
func (r *Report) ofSlowFollowers() []least {
	return []least{
		{"acknowledged writes", r.Acknowledged, 1500},
		{"disks that hung", r.HungDisks, 4},
		{"slow appliers", r.SlowAppliers, 2},
		{"ticks in which a leader waited for who was behind", r.TicksWaited, 20},
		{"waits for a follower that lasted an election timeout", r.LongWaits, 1.5},
	}
}

// ofMembers is what comes of members that come and go.
func (r *Report) ofMembers() []least {
	return []least{
		{"members added", r.MembersAdded, 6},
		{"members promoted", r.MembersPromoted, 5},
		{"members removed", r.MembersRemoved, 5},
		{"founders replaced", r.MembersReplaced, 2},
		{"members told to leave", r.Left, 5},
		{"members brought up by a snapshot", r.InstalledByJoiners, 5},
		{"deaths while a snapshot was staged or installed", r.DeathsInstalling, 1},
		{"snapshot files saved and verified", r.Saves, 3},
		{"snapshot files of members that died on the way", r.SavesBroken, 0.3},
	}
}
