package verb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

func alarmCommand(s *Session) *cobra.Command {
	list := s.command("list", "The alarms that are active", cobra.NoArgs, func([]string) (request, error) {
		return s.listAlarms, nil
	})
	list.Example = "  raft-cli alarm list -w json"
	disarm := s.command("disarm", "End all alarms", cobra.NoArgs, func([]string) (request, error) {
		return s.disarmAlarms, nil
	})
	disarm.Long = "End all alarms, and print those that ended. One whose cause is still there comes back."
	disarm.Example = "  raft-cli alarm disarm"
	cmd := family("alarm", "What keeps members from taking writes", list, disarm)
	cmd.Long = `What keeps members from taking writes. NOSPACE: a member's space or quota is
used up; deleting, compacting and reading go on, and the alarm ends by itself
some seconds after there is room. CORRUPT: members found that their data differ;
find the damaged one (raft-cli verify) and replace it before disarming.`
	cmd.Example = "  raft-cli alarm list"
	return cmd
}

func (s *Session) listAlarms(ctx context.Context, c *client.Client) error {
	resp, answer, err := c.Alarms(ctx)
	if err != nil {
		return err
	}
	return s.printAlarms(ctx, c, answer, resp)
}

// disarmAlarms ends one alarm after the other. It goes on after a failure and
// prints those that ended.
func (s *Session) disarmAlarms(ctx context.Context, c *client.Client) error {
	active, answer, err := c.Alarms(ctx)
	if err != nil {
		return err
	}
	ended := &pb.AlarmResponse{Header: active.GetHeader()}
	var faults []error
	for _, alarm := range active.GetAlarms() {
		resp, _, err := c.DisarmAlarm(ctx, alarm)
		if err != nil {
			faults = append(faults, fmt.Errorf("ending %s of member %x: %w", alarm.GetAlarm(), alarm.GetMemberID(), err))
			continue
		}
		ended.Header, ended.Alarms = resp.GetHeader(), append(ended.Alarms, resp.GetAlarms()...)
	}
	return errors.Join(append([]error{s.printAlarms(ctx, c, answer, ended)}, faults...)...)
}

// printAlarms asks who gave answer for the names of the members.
func (s *Session) printAlarms(ctx context.Context, c *client.Client, answer client.Answer, resp *pb.AlarmResponse) error {
	o := output{json: resp, head: []string{"NODE", "ID", "ALARM"}}
	for _, alarm := range resp.GetAlarms() {
		id := strconv.FormatUint(alarm.GetMemberID(), 16)
		answer.MemberID = alarm.GetMemberID()
		o.rows = append(o.rows, []string{c.MemberName(ctx, answer), id, alarm.GetAlarm().String()})
	}
	o.simple = func(b *bytes.Buffer) {
		for _, row := range o.rows {
			fmt.Fprintf(b, "Node %s: %s\n", memberJSON{Name: row[0], ID: row[1]}.label(), row[2])
		}
	}
	if len(o.rows) == 0 && s.format == formatSimple {
		return s.remark("(no alarm)")
	}
	return s.print(o)
}
