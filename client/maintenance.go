package client

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Compact forgets what was before revision, so that it cannot be read or watched
// any more. With physical it returns only once the space can be used again.
func (c *Client) Compact(ctx context.Context, revision int64, physical bool) (*pb.CompactionResponse, Answer, error) {
	var resp *pb.CompactionResponse
	e, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewKVClient(e.conn).Compact(ctx, &pb.CompactionRequest{Revision: revision, Physical: physical})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// Alarms lists the alarms that are active.
func (c *Client) Alarms(ctx context.Context) (*pb.AlarmResponse, Answer, error) {
	return c.alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
}

// DisarmAlarm ends an alarm of a member. The answer lists it, and nothing if it
// was not active.
func (c *Client) DisarmAlarm(ctx context.Context, alarm *pb.AlarmMember) (*pb.AlarmResponse, Answer, error) {
	return c.alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: alarm.GetMemberID(), Alarm: alarm.GetAlarm()})
}

func (c *Client) alarm(ctx context.Context, req *pb.AlarmRequest) (*pb.AlarmResponse, Answer, error) {
	var resp *pb.AlarmResponse
	e, err := c.do(ctx, req.GetAction() != pb.AlarmRequest_GET, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewMaintenanceClient(e.conn).Alarm(ctx, req)
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}
