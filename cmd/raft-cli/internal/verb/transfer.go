package verb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"raftkv/rpc/kvstream/kvpb"
)

// transferJSON is a snapshot on its way between two members, in the JSON of
// status.
type transferJSON struct {
	MemberID       string `json:"member_id"`
	MemberName     string `json:"member_name"`
	Sending        bool   `json:"sending"`
	Index          uint64 `json:"index"`
	DoneBytes      uint64 `json:"done_bytes"`
	ToGoBytes      uint64 `json:"to_go_bytes"`
	TotalBytes     uint64 `json:"total_bytes"`
	BytesPerSecond uint64 `json:"bytes_per_second"`
	LeftMS         uint64 `json:"left_ms,omitempty"`
}

func transfersToJSON(m *kvpb.StatusResponse) (all []transferJSON) {
	for _, t := range m.GetSnapshots() {
		all = append(all, transferJSON{
			MemberID: strconv.FormatUint(t.GetMemberId(), 16), MemberName: t.GetMemberName(), Sending: t.GetSending(), Index: t.GetIndex(),
			DoneBytes: t.GetDoneBytes(), ToGoBytes: t.GetTotalBytes() - min(t.GetDoneBytes(), t.GetTotalBytes()), TotalBytes: t.GetTotalBytes(),
			BytesPerSecond: t.GetBytesPerSecond(), LeftMS: t.GetLeftMs(),
		})
	}
	return all
}

// line tells a transfer as people read it.
func (t transferJSON) line() string {
	doing := "Receiving a snapshot from"
	if t.Sending {
		doing = "Sending a snapshot to"
	}
	return fmt.Sprintf("%s node %s: %s", doing, t.MemberName, t.progress())
}

func (t transferJSON) progress() string {
	s := fmt.Sprintf("%s of %s, %s to go", mebibytes(int64(t.DoneBytes)), mebibytes(int64(t.TotalBytes)), mebibytes(int64(t.ToGoBytes)))
	if t.BytesPerSecond > 0 {
		s += fmt.Sprintf(", %s/s", mebibytes(int64(t.BytesPerSecond)))
	}
	if t.LeftMS > 0 {
		left := time.Duration(t.LeftMS) * time.Millisecond
		s += fmt.Sprintf(", %v left", max(left.Round(time.Second), time.Second))
	}
	return s
}

// transferCell tells transfers in a cell of a table.
func transferCell(all []transferJSON) string {
	var cells []string
	for _, t := range all {
		direction := "from"
		if t.Sending {
			direction = "to"
		}
		cells = append(cells, fmt.Sprintf("%s %s: %s", direction, t.MemberName, t.progress()))
	}
	return strings.Join(cells, "; ")
}
