package verb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

func leaseCommand(s *Session) *cobra.Command {
	cmd := family("lease", "Keys that go when a time has passed",
		leaseGrantCommand(s), leaseRevokeCommand(s), leaseTTLCommand(s), leaseListCommand(s), leaseKeepAliveCommand(s))
	cmd.Long = `Keys that go when a time has passed: a lease has a time to live, and the keys
put with it are deleted when it expires or is revoked. IDs are hexadecimal.`
	cmd.Example = "  raft-cli lease grant 60\n  raft-cli set --lease 694d9b2c4ab2d016 session alive"
	for name, example := range map[string]string{
		"grant": "60", "revoke": exampleLease, "timetolive": "--keys " + exampleLease, "list": "-w json", "keep-alive": "--once " + exampleLease,
	} {
		if verb, _, err := cmd.Find([]string{name}); err == nil {
			if strings.HasSuffix(verb.Use, " ID") {
				verb.ValidArgsFunction = s.completeLease()
			}
			verb.Example = "  raft-cli lease " + name + " " + example
		}
	}
	return cmd
}

// exampleLease is how an id looks.
const exampleLease = "694d9b2c4ab2d016"

// parseLease reads the id of a lease as etcdctl prints it.
func parseLease(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 16, 64)
	if err != nil {
		return 0, usagef("%q is not the id of a lease, a hexadecimal number", text)
	}
	return id, nil
}

func leaseName(id int64) string { return fmt.Sprintf("%016x", id) }

func seconds(n int64) string { return strconv.FormatInt(n, 10) + "s" }

func leaseGrantCommand(s *Session) *cobra.Command {
	return s.command("grant TTL", "Make a lease that lives for TTL seconds", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			ttl, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return nil, usagef("the time to live is a number of seconds, not %q", args[0])
			}
			return func(ctx context.Context, c *client.Client) error {
				resp, _, err := c.GrantLease(ctx, ttl, 0)
				if err != nil {
					return err
				}
				return s.print(output{
					json: resp,
					head: []string{"LEASE", "TTL"}, rows: [][]string{{leaseName(resp.GetID()), seconds(resp.GetTTL())}},
					simple: func(b *bytes.Buffer) {
						fmt.Fprintf(b, "lease %016x granted with TTL(%ds)\n", resp.GetID(), resp.GetTTL())
					},
				})
			}, nil
		})
}

func leaseRevokeCommand(s *Session) *cobra.Command {
	return s.command("revoke ID", "End a lease and delete its keys", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			id, err := parseLease(args[0])
			return func(ctx context.Context, c *client.Client) error {
				resp, _, err := c.RevokeLease(ctx, id)
				if err != nil {
					return err
				}
				return s.print(output{
					json: resp,
					head: []string{"LEASE", "RESULT"}, rows: [][]string{{leaseName(id), "revoked"}},
					simple: func(b *bytes.Buffer) { fmt.Fprintf(b, "lease %016x revoked\n", id) },
				})
			}, err
		})
}

func leaseTTLCommand(s *Session) *cobra.Command {
	var keys bool
	cmd := s.command("timetolive ID", "What is left of a lease", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			id, err := parseLease(args[0])
			return func(ctx context.Context, c *client.Client) error {
				resp, _, err := c.LeaseTimeToLive(ctx, id, keys)
				if err != nil {
					return err
				}
				return s.print(s.timeToLiveOutput(resp, keys))
			}, err
		})
	cmd.Flags().BoolVar(&keys, "keys", false, "also the keys of the lease")
	return cmd
}

func (s *Session) timeToLiveOutput(resp *pb.LeaseTimeToLiveResponse, keys bool) output {
	expired := resp.GetGrantedTTL() == 0 && resp.GetTTL() == -1
	var names []string
	for _, k := range resp.GetKeys() {
		names = append(names, s.text(k))
	}
	o := output{json: resp, head: []string{"LEASE", "GRANTED", "REMAINING"}}
	row := []string{leaseName(resp.GetID()), seconds(resp.GetGrantedTTL()), seconds(resp.GetTTL())}
	if expired {
		row[1], row[2] = "", "expired"
	}
	if keys {
		o.head, row = append(o.head, "KEYS"), append(row, cell(strings.Join(names, " ")))
	}
	o.rows = [][]string{row}
	o.simple = func(b *bytes.Buffer) {
		if expired {
			fmt.Fprintf(b, "lease %016x already expired\n", resp.GetID())
			return
		}
		fmt.Fprintf(b, "lease %016x granted with TTL(%ds), remaining(%ds)", resp.GetID(), resp.GetGrantedTTL(), resp.GetTTL())
		if keys {
			fmt.Fprintf(b, ", attached keys(%v)", names)
		}
		b.WriteByte('\n')
	}
	return o
}

func leaseListCommand(s *Session) *cobra.Command {
	return s.command("list", "All leases", cobra.NoArgs, func([]string) (request, error) {
		return func(ctx context.Context, c *client.Client) error {
			resp, _, err := c.Leases(ctx)
			if err != nil {
				return err
			}
			o := output{json: resp, head: []string{"LEASE"}, simple: func(b *bytes.Buffer) {
				fmt.Fprintf(b, "found %d leases\n", len(resp.GetLeases()))
				for _, l := range resp.GetLeases() {
					fmt.Fprintln(b, leaseName(l.GetID()))
				}
			}}
			for _, l := range resp.GetLeases() {
				o.rows = append(o.rows, []string{leaseName(l.GetID())})
			}
			return s.print(o)
		}, nil
	})
}

func leaseKeepAliveCommand(s *Session) *cobra.Command {
	var once bool
	cmd := s.unlimitedCommand("keep-alive ID", "Renew a lease until interrupted", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			id, err := parseLease(args[0])
			return func(ctx context.Context, c *client.Client) error { return s.keepAlive(ctx, c, id, once) }, err
		})
	cmd.Flags().BoolVar(&once, "once", false, "renew it once")
	return cmd
}

func (s *Session) keepAlive(ctx context.Context, c *client.Client, id int64, once bool) error {
	renewed := func(resp *pb.LeaseKeepAliveResponse) error {
		return s.print(output{
			json: resp,
			head: []string{"LEASE", "TTL"}, rows: [][]string{{leaseName(id), seconds(resp.GetTTL())}},
			simple: func(b *bytes.Buffer) { fmt.Fprintf(b, "lease %016x keepalived with TTL(%d)\n", id, resp.GetTTL()) },
		})
	}
	if once {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		resp, _, err := c.RenewLease(ctx, id)
		if err != nil {
			return err
		}
		return renewed(resp)
	}
	err := c.KeepAlive(ctx, id, renewed)
	switch {
	case ctx.Err() == context.Canceled:
		return nil // that is how it ends
	case errors.Is(err, client.ErrLeaseLost) && s.format == formatSimple:
		if _, err := fmt.Fprintf(s.Out, "lease %016x expired or revoked.\n", id); err != nil {
			return fmt.Errorf("writing the output: %w", err)
		}
	}
	return err
}
