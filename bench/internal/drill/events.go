package drill

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"raftkv/bench/internal/kvload"
)

const (
	eventTimeout = 5 * time.Minute
	// rewriteBatch makes so many entries of a rewrite that etcd drops those that
	// the follower needs: it keeps 5,000 and drops every 10,000.
	rewriteBatch = 10
	// rewriteEntriesMin is above what etcd keeps until it drops.
	rewriteEntriesMin = 20_000
)

// prepare does what must be done before the load begins.
func (d *disturbance) prepare(ctx context.Context) error {
	if d.event != EventCatchUp {
		return nil
	}
	leader, err := d.cfg.leader(ctx)
	if err != nil {
		return err
	}
	d.follower = (leader + 1) % len(d.cfg.Servers.Endpoints())
	if d.follower == leader {
		return fmt.Errorf("%s needs at least three nodes", d.event)
	}
	if _, err := d.cfg.Servers.Kill(d.follower); err != nil {
		return err
	}
	for written := 0; written < rewriteEntriesMin; written += d.cfg.Workload.Keys / rewriteBatch {
		if err := d.workload.Rewrite(ctx, d.cfg.Load.Timeout, rewriteBatch); err != nil {
			return err
		}
	}
	return nil
}

// once lets the event happen.
func (d *disturbance) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	switch d.event {
	case EventSave:
		leader, err := d.cfg.leader(ctx)
		if err != nil {
			return err
		}
		_, err = kvload.SaveSnapshot(ctx, d.cfg.Servers.Endpoints()[leader])
		return err
	case EventCompaction:
		return d.workload.Compact(ctx)
	case EventCatchUp:
		if err := d.cfg.Servers.Restart(d.follower); err != nil {
			return err
		}
		if err := d.cfg.awaitCaughtUp(ctx, d.follower); err != nil {
			return err
		}
		var err error
		d.installed, err = installedSnapshots(ctx, d.cfg.Servers.Endpoints()[d.follower])
		return err
	}
	return fmt.Errorf("unknown event %q", d.event)
}

// installedSnapshots asks a member for its metrics and counts the snapshots that
// it took over since it was started.
func installedSnapshots(ctx context.Context, endpoint string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking for metrics: %w", err)
	}
	defer response.Body.Close()
	count := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, found := cutLast(lines.Text())
		name, _, _ = strings.Cut(name, "{")
		if !found || name != "raftkv_snapshot_installed_total" && name != "etcd_network_snapshot_receive_success" {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metrics of %s: %w", endpoint, err)
		}
		count += n
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("metrics of %s: %w", endpoint, err)
	}
	return int(count), nil
}

// cutLast splits a line of metrics into what is measured and its value.
func cutLast(line string) (name, value string, found bool) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 || strings.HasPrefix(line, "#") {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}
