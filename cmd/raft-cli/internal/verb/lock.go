package verb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/client"
)

// sessionTTLSeconds is how long a lock or an election outlives a process that
// was killed, unless told otherwise.
const sessionTTLSeconds = 60

// CommandError is a user's command that did not succeed.
type CommandError struct {
	Code int
	Err  error
}

func (e *CommandError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

func lockCommand(s *Session) *cobra.Command {
	var ttl int64
	cmd := s.unlimitedCommand("lock NAME [COMMAND ARG...]", "Hold a lock", cobra.MinimumNArgs(1),
		func(args []string) (request, error) {
			name, err := s.sessionArguments(args[0], ttl)
			return func(ctx context.Context, c *client.Client) error {
				return s.hold(ctx, c, claim{name: name, ttl: ttl}, func(ctx context.Context, key *mvccpb.KeyValue, a client.Answer) error {
					if len(args) > 1 {
						return s.runLocked(ctx, key, args[1:])
					}
					if err := s.printHolder(a, key); err != nil {
						return err
					}
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}, err
		})
	cmd.Long = `Hold a lock: wait for it, print its key, and hold it until interrupted.

With a command, that is run under the lock, with ETCD_LOCK_KEY and ETCD_LOCK_REV
in its environment, and its exit code is that of lock; flags of lock stand before
NAME. If the lock is lost meanwhile, the command gets a SIGTERM.

Locks are shared with etcdctl lock and with etcd's client libraries.`
	cmd.Example = "  raft-cli lock nightly ./backup.sh --all"
	cmd.Flags().Int64Var(&ttl, "ttl", sessionTTLSeconds, "seconds after which the lock is free if this process dies")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func electCommand(s *Session) *cobra.Command {
	var ttl int64
	var listen bool
	cmd := s.unlimitedCommand("elect NAME [PROPOSAL]", "Take part in an election, or observe it", cobra.RangeArgs(1, 2),
		func(args []string) (request, error) {
			if listen == (len(args) == 2) {
				return nil, usagef("elect takes either a proposal or --listen")
			}
			name, err := s.sessionArguments(args[0], ttl)
			if err != nil || listen {
				return func(ctx context.Context, c *client.Client) error { return s.observe(ctx, c, name) }, err
			}
			value, err := s.value(args[1])
			return func(ctx context.Context, c *client.Client) error {
				return s.hold(ctx, c, claim{name: name, value: value, ttl: ttl}, func(ctx context.Context, key *mvccpb.KeyValue, a client.Answer) error {
					if err := s.printHolder(a, key); err != nil {
						return err
					}
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}, err
		})
	cmd.Long = `Take part in an election: wait to be elected, print the key and the proposal,
and stay elected until interrupted. With --listen print who is elected, and what
it proposes, whenever that changes.

Elections are shared with etcdctl elect and with etcd's client libraries.`
	cmd.Example = "  raft-cli elect scheduler host-7\n  raft-cli elect scheduler --listen"
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "observe, take no part")
	cmd.Flags().Int64Var(&ttl, "ttl", sessionTTLSeconds, "seconds after which another is elected if this process dies")
	return cmd
}

func (s *Session) sessionArguments(name string, ttl int64) ([]byte, error) {
	if ttl < 1 {
		return nil, usagef("--ttl %d is not positive", ttl)
	}
	return s.bytes(name)
}

// claim is what is to be held.
type claim struct {
	name, value []byte
	ttl         int64 // seconds
}

// hold waits for a claim and calls held once it is first. The context of held
// ends with ctx, and when the claim is lost. Afterwards the claim is given up.
func (s *Session) hold(ctx context.Context, c *client.Client, what claim, held func(context.Context, *mvccpb.KeyValue, client.Answer) error) (err error) {
	granted, answer, err := c.GrantLease(ctx, what.ttl, 0)
	if err != nil {
		return err
	}
	lease := granted.GetID()
	session, lose := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		lose(c.KeepAlive(session, lease, func(*pb.LeaseKeepAliveResponse) error { return nil }))
	})
	defer func() {
		lost := session.Err() != nil && ctx.Err() == nil
		lose(nil)
		renewing.Wait()
		err = errors.Join(err, s.giveUp(ctx, c, lease, lost))
	}()
	key, err := c.Claim(session, what.name, what.value, lease)
	if err == nil {
		err = held(session, key, answer)
	}
	var command *CommandError
	switch {
	case errors.As(err, &command):
		return err
	case ctx.Err() == context.Canceled:
		return nil // interrupted: that is how it ends
	case session.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("session expired: %w", context.Cause(session))
	}
	return err
}

// giveUp ends the lease, and with it the claim.
func (s *Session) giveUp(ctx context.Context, c *client.Client, lease int64, lost bool) error {
	if lost {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	if _, _, err := c.RevokeLease(ctx, lease); err != nil {
		return fmt.Errorf("giving up what was held (it ends by itself): %w", err)
	}
	return nil
}

// printHolder prints a key as get does.
func (s *Session) printHolder(a client.Answer, key *mvccpb.KeyValue) error {
	header := &pb.ResponseHeader{ClusterId: a.ClusterID, MemberId: a.MemberID, RaftTerm: a.RaftTerm, Revision: max(a.Revision, key.GetModRevision())}
	// A range, so that the key is printed too.
	return s.print(s.rangeOutput(&pb.RangeRequest{Key: key.GetKey(), RangeEnd: []byte{0}}, &pb.RangeResponse{Header: header, Kvs: []*mvccpb.KeyValue{key}, Count: 1}))
}

func (s *Session) observe(ctx context.Context, c *client.Client, name []byte) error {
	err := c.Observe(ctx, name, func(a client.Answer, key *mvccpb.KeyValue) error {
		if key == nil {
			return nil // etcdctl says nothing either
		}
		return s.printHolder(a, key)
	})
	if ctx.Err() == context.Canceled {
		return nil
	}
	return err
}

// runLocked runs the user's command and waits for it.
func (s *Session) runLocked(ctx context.Context, key *mvccpb.KeyValue, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), "ETCD_LOCK_KEY="+string(key.GetKey()), fmt.Sprintf("ETCD_LOCK_REV=%d", key.GetModRevision()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	err := cmd.Run()
	if err == nil {
		return nil
	}
	failed := &CommandError{Code: 1, Err: fmt.Errorf("command %q: %w", strings.Join(command, " "), err)}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		failed.Code = exit.ExitCode()
	}
	return failed
}
