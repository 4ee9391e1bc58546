package page

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/measure"
)

// ErrSides means that reports compare different things.
var ErrSides = errors.New("the reports name other sides")

// quietCores is how much of a core others may use before a row says so.
const quietCores = 0.1

// WriteMarkdown renders several reports of the same two sides as one table, one row
// a line, in the order of the matrix. Of a row that several reports have, that of
// the latest one counts.
func WriteMarkdown(out io.Writer, reports []compare.Report) error {
	reports = slices.SortedStableFunc(slices.Values(reports), func(a, b compare.Report) int { return a.Began.Compare(b.Began) })
	for _, r := range reports[1:] {
		if r.A.Name != reports[0].A.Name || r.B.Name != reports[0].B.Name {
			return fmt.Errorf("%w: %s beside %s, and %s beside %s", ErrSides, reports[0].A.Name, reports[0].B.Name, r.A.Name, r.B.Name)
		}
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "| work | %s | %s | ratio (rounds) | target | verdict |\n|---|---|---|---|---|---|\n",
		escape(reports[0].A.Name), escape(reports[0].B.Name))
	rows, busy := joined(reports), false
	for _, row := range rows {
		busy = writeLine(w, row) || busy
	}
	fmt.Fprintf(w, "\nMedians over the rounds, their ratio, and the smallest and largest ratio of a round.")
	if busy {
		fmt.Fprintf(w, " ~: not a quiet machine, others used more than %.1f cores.", quietCores)
	}
	fmt.Fprintln(w)
	writeOrigins(w, reports)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

// joined takes reports from the oldest to the latest.
func joined(reports []compare.Report) []compare.RowSummary {
	order := map[string]int{}
	for i, row := range compare.Matrix() {
		order[row.Name] = i
	}
	var rows []compare.RowSummary
	for _, r := range reports {
		for _, summary := range r.Summary {
			name := summary.Row.Name
			if _, known := order[name]; !known { // of another version of the matrix
				order[name] = len(order)
			}
			rows = slices.DeleteFunc(rows, func(s compare.RowSummary) bool { return s.Row.Name == name })
			rows = append(rows, summary)
		}
	}
	slices.SortStableFunc(rows, func(a, b compare.RowSummary) int { return order[a.Row.Name] - order[b.Row.Name] })
	return rows
}

// writeLine writes a row: a line of its cells for each metric with a target, and
// for failures where they are expected.
func writeLine(w io.Writer, row compare.RowSummary) (busy bool) {
	var cells [5][]string
	for _, m := range row.Metrics {
		if len(m.Goals) == 0 && (m.Metric != compare.FailedPercent || len(m.A) == 0) {
			continue
		}
		line := [5]string{compare.Unknown, compare.Unknown}
		if len(m.A) > 0 {
			line[0], line[1] = figure(m.Metric, m.MedianA), figure(m.Metric, m.MedianB)
		}
		if m.Ratio > 0 {
			line[2] = fmt.Sprintf("%.2fx (%.2f-%.2f)", m.Ratio, m.RatioMin, m.RatioMax)
		}
		var targets, verdicts []string
		for _, g := range m.Goals {
			targets, verdicts = append(targets, g.String()), append(verdicts, g.Verdict)
		}
		line[3], line[4] = strings.Join(targets, "; "), strings.Join(verdicts, "; ")
		for i, text := range line {
			cells[i] = append(cells[i], text)
		}
	}
	name := escape(row.Row.Name)
	if busy = max(row.OthersCores[0], row.OthersCores[1]) > quietCores; busy {
		name += " ~"
	}
	fmt.Fprintf(w, "| %s |", name)
	for _, lines := range cells {
		fmt.Fprintf(w, " %s |", strings.Join(lines, "<br>"))
	}
	fmt.Fprintln(w)
	return busy
}

// figure says what a value is of, since the line does not.
func figure(m compare.Metric, value float64) string {
	text := m.Format(value)
	switch m {
	case compare.Throughput:
		return text + "/s"
	case compare.CPUPerOp:
		return text + " us CPU"
	case compare.Resident, compare.DiskUsed:
		what, _, _ := strings.Cut(string(m), " ")
		return text + " MiB " + what
	case compare.OutageP50:
		return text
	case compare.FailedPercent:
		return text + " % failed"
	}
	return string(m) + " " + text
}

// writeOrigins says where the figures come from, machine by machine.
func writeOrigins(w io.Writer, reports []compare.Report) {
	var machines []string
	runs := map[string][]string{}
	for _, r := range reports {
		m := r.Machine
		machine := fmt.Sprintf("%d cores (%s), %.1f GiB, %s, %s", m.Cores, m.Processor, float64(m.MemoryBytes)/(1<<30), m.OS, r.Disk.FileSystem)
		if version := r.B.Binary.Server; version != "" {
			machine += fmt.Sprintf("; %s %s", r.B.Name, version)
		}
		if !slices.Contains(machines, machine) {
			machines = append(machines, machine)
		}
		rounds := "1 round"
		if r.Rounds != 1 {
			rounds = fmt.Sprintf("%d rounds", r.Rounds)
		}
		run := fmt.Sprintf("%s, commit %s, one fsync %s: %s of %.4g s on %d nodes, %d keys, values of %d bytes; rows: %d",
			r.Began.Format("2006-01-02 15:04 UTC"), m.Commit, measure.Micros(r.Disk.SyncP50US),
			rounds, r.WindowSeconds, r.Nodes, r.Keys, r.ValueSizeBytes, len(r.Summary))
		if r.Incomplete != "" {
			run += ", INCOMPLETE"
		}
		runs[machine] = append(runs[machine], run)
	}
	for _, machine := range machines {
		fmt.Fprintf(w, "\n%s:\n\n", escape(machine))
		for _, run := range runs[machine] {
			fmt.Fprintf(w, "- %s\n", escape(run))
		}
	}
}

// escape keeps a cell in one piece.
func escape(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}
