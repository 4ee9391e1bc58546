package measure

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
)

// WriteText renders a point for a person.
func (p Point) WriteText(out io.Writer) error {
	w := bufio.NewWriter(out)
	p.writeHeader(w)
	fmt.Fprintf(w, "throughput  %.0f operations/s (%d in %.4gs)\n", p.ThroughputPerSecond, p.Completed, p.WindowSeconds)
	writeLatency(w, "latency", p.Latency)
	for _, k := range p.Kinds {
		fmt.Fprintf(w, "  %-9s %.0f operations/s\n", k.Kind, k.ThroughputPerSecond)
		writeLatency(w, "", k.Latency)
	}
	writeCost(w, "servers", p.Servers)
	writeCost(w, "generator", p.Generator)
	if p.Others != nil {
		fmt.Fprintf(w, "others      %.2f cores used by other processes, %.2f stolen by the machine's host\n",
			p.Others.Cores, p.Others.StolenCores)
	}
	p.writeFaults(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (p Point) writeHeader(w io.Writer) {
	discipline := "closed loop"
	if p.RatePerSecond > 0 {
		discipline = fmt.Sprintf("open loop at %.4g operations/s, latency from the intended start", p.RatePerSecond)
	}
	fmt.Fprintf(w, "%s\n", p.Describe())
	fmt.Fprintf(w, "%d clients on %d connections to %s, %s\n",
		p.Clients, p.Connections, strings.Join(p.Endpoints, " "), discipline)
	fmt.Fprintf(w, "%d keys, values of %d bytes, seed %d\n\n", p.Workload.Keys, p.Workload.ValueSizeBytes, p.Workload.Seed)
}

// Describe names the workload in a few words.
func (p Point) Describe() string {
	switch p.Workload.Operation {
	case kvload.OpPutGet:
	case kvload.OpTxnMixed:
		return fmt.Sprintf("transactions that read, %d %%, or write", p.Workload.ReadPercent)
	case kvload.OpRange:
		return fmt.Sprintf("range of %d keys", p.Workload.PageKeys)
	default:
		return string(p.Workload.Operation)
	}
	read := "linearizable get"
	if p.Workload.Serializable {
		read = "serializable get"
	}
	if p.Workload.AbsentKeys {
		read += " of absent keys"
	}
	switch p.Workload.ReadPercent {
	case 0:
		if p.Workload.PageKeys > 0 {
			return fmt.Sprintf("listing in pages of %d", p.Workload.PageKeys)
		}
		return "put"
	case 100:
		return read
	}
	return fmt.Sprintf("%d %% %s, %d %% put", p.Workload.ReadPercent, read, 100-p.Workload.ReadPercent)
}

func writeLatency(w io.Writer, name string, l load.Latency) {
	fmt.Fprintf(w, "%-11s p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n", name,
		Micros(l.P50US), Micros(l.P90US), Micros(l.P99US), Micros(l.P999US), Micros(l.MaxUS))
}

func writeCost(w io.Writer, name string, c *Cost) {
	if c == nil {
		return
	}
	perOp := "no operation completed"
	if c.CPUPerOpUS > 0 {
		perOp = fmt.Sprintf("%.4g us CPU per operation", c.CPUPerOpUS)
	}
	fmt.Fprintf(w, "%-11s %s (%.2f cores), %.0f MiB resident, at most %.0f MiB\n",
		name, perOp, c.Cores, mib(c.ResidentBytes), mib(c.PeakResidentBytes))
}

func (p Point) writeFaults(w io.Writer) {
	if p.LeaderChanged {
		fmt.Fprintf(w, "WARNING     the leader changed during the run: part of the load went to a follower\n")
	}
	if p.Unsent > 0 {
		fmt.Fprintf(w, "OVERLOADED  %d operations were due but never sent; percentiles are lower bounds\n", p.Unsent)
	}
	if p.ErrorTotal() == 0 {
		fmt.Fprintf(w, "errors      none\n")
		return
	}
	for _, list := range []struct {
		name   string
		errors []load.ErrorCount
	}{{"ERRORS", p.Errors}, {"IN WARM-UP", p.WarmupErrors}} {
		for _, e := range list.errors {
			fmt.Fprintf(w, "%-11s %d %s, such as: %s\n", list.name, e.Count, e.Class, e.Example)
		}
	}
}

// Micros formats microseconds with three significant digits and a unit.
func Micros(us int64) string {
	switch d := time.Duration(us) * time.Microsecond; {
	case d < time.Millisecond:
		return fmt.Sprintf("%d us", us)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(us)/1e3)
	default:
		return fmt.Sprintf("%.3g s", float64(us)/1e6)
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// WriteJSON writes a report, or anything else, with all its raw figures.
func WriteJSON(out io.Writer, report any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(report); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}
