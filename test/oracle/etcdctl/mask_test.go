package etcdctl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mask replaces what a regular expression finds; reason says why it may differ.
type mask struct{ find, with, reason string }

// masks apply to every step.
var masks = []mask{
	{`("(?:raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse|took)":)"?[^,}"]+"?`, "$1<n>", "elections, entries of the log, files and time"},
	{`("(?:Raft ?Term|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|Took)" : )"?[^\n"]+"?`, "$1<n>", "the same as fields"},
	{`\d+(\.\d+)?(µs|ms|s)\b`, "<time>", "time"},
	{`\b[0-9a-f]{14,16}\b`, "<id>", "ids of leases that nobody captured"},
	{`\b\d{15,20}\b`, "<id>", "the same as numbers"},
	{`[─┬┼┴]{3,}`, "─", "tables are as wide as what is in them"},
	{` *│ *`, " │ ", "the same"},
	{`(?m)^\{"level":.*\n`, "", "what the client logs has its time and place"},
}

// masked replaces ids that have a name, addresses, and what masks find.
func (c *cluster) masked(printed string, more []mask) string {
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		id, err := strconv.ParseUint(c.names[name], 16, 64)
		if err != nil {
			c.t.Fatalf("%s: %v", name, err)
		}
		printed = unpadded(printed, id)
		for _, form := range []string{fmt.Sprintf("%016x", id), fmt.Sprintf("%x", id), fmt.Sprint(id), fmt.Sprint(int64(id))} {
			printed = strings.ReplaceAll(printed, form, "<"+name+">")
		}
	}
	for _, m := range c.members {
		printed = strings.ReplaceAll(printed, strings.TrimPrefix(m.ClientURL, "http://"), "<"+m.Name+"-client>")
		printed = strings.ReplaceAll(printed, strings.TrimPrefix(m.PeerURL, "http://"), "<"+m.Name+"-peer>")
	}
	printed = strings.ReplaceAll(printed, c.dir, "<dir>")
	for _, m := range append(slices.Clone(more), masks...) {
		if m.find == sorted {
			lines := strings.Split(printed, "\n")
			slices.Sort(lines)
			printed = strings.Join(lines, "\n")
			continue
		}
		printed = regexp.MustCompile(m.find).ReplaceAllString(printed, m.with)
	}
	return printed
}

// unpadded takes away the blanks that etcdctl fills a short id with to 16 digits.
func unpadded(printed string, id uint64) string {
	short := fmt.Sprintf("%x", id)
	if len(short) == 16 {
		return printed
	}
	blanks := regexp.MustCompile(fmt.Sprintf(`(?m)(^| ) {%d}%s\b`, 16-len(short), short))
	return blanks.ReplaceAllString(printed, "${1}"+short)
}

// leaseMasks are for what a lease is asked for.
func leaseMasks() []mask {
	return []mask{
		{`(remaining\(|"ttl":|"TTL" : )\d+`, "${1}<left>", "time goes by"},
		{`\bl[12]\b|bD[EI]=`, "<key>", "etcd takes the keys of a lease from a map"},
	}
}

// sorted puts the lines of what a step printed in order, which is that of
// answers that come at the same time.
const sorted = "sorted"

func unordered() []mask {
	return []mask{{find: sorted, reason: "members answer, and are listed, in the order of chance or of their ids"}}
}

// unorderedJSON is unordered for a list on one line.
func unorderedJSON() []mask {
	return append([]mask{{find: `\},\{`, with: "}\n{"}, {find: `\[\{`, with: "[\n{"}, {find: `\}\]\}`, with: "}\n]}"}}, unordered()...)
}

// unorderedCluster is unordered for what a new member is to be started with.
func unorderedCluster() []mask {
	return append([]mask{{find: `(CLUSTER=)"(.*)"`, with: "$1\n$2"}, {find: `>,m`, with: ">\nm"}}, unordered()...)
}

// statusColumns masks the columns of a status that raft and the disk decide.
func statusColumns() []mask {
	return []mask{
		{`\d+(\.\d+)? [kM]?B(\s*[,│]\s*)\d+(\.\d+)? [kM]?B(\s*[,│]\s*)\d+%`, "<bytes>$2<bytes>$4<share>", "files"},
		{`(true|false)(\s*[,│]\s*)(true|false)(\s*[,│]\s*)\d+(\s*[,│]\s*)\d+(\s*[,│]\s*)\d+\b`, "<leads>$2$3$4<n>$5<n>$6<n>", "who leads, terms and entries of the log are by chance"},
		{`("leader":|"Leader" : )<m\d>`, "$1<leader>", "who leads is by chance"},
		{`(?m)^(\||│) .*ENDPOINT.*`, "", "as wide as what is below"},
		{` {2,}`, " ", "as wide as the longest"},
		{`(?m) [│|]$`, "", "the same"},
	}
}

// sessionKeys are those of locks and elections.
func sessionKeys() []mask {
	return []mask{{`"(bXV0ZXgv|b2ZmaWNl)[^"]*"`, "\"$1<id>\"", "in base64, keys that end with the id of a lease"}}
}

func TestShortIDsAreUnpadded(t *testing.T) {
	const id = 0xabcdef012345678 // of 15 digits
	printed := fmt.Sprintf("Member %16x removed from cluster %16x\n%16x, started, %x\n", uint64(id), uint64(id), uint64(id), uint64(id))
	if got, want := unpadded(printed, id), "Member abcdef012345678 removed from cluster abcdef012345678\nabcdef012345678, started, abcdef012345678\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}
