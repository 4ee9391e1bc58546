package verb

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

const (
	// completionTimeout is how long a user who pressed the tab key waits for the
	// cluster.
	completionTimeout = time.Second
	// completionKeysMax bounds the keys, or leases, offered.
	completionKeysMax = 50
)

// CompleteFlags teaches a command line that is about to complete a word what
// the shared flags take. cobra never forgets what it was taught, so a command
// line that is only executed is not.
func CompleteFlags(root *cobra.Command) error {
	formats := []cobra.Completion{string(formatSimple), string(formatJSON), string(formatTable)}
	return root.RegisterFlagCompletionFunc("write-out", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// completer offers words that a user may type next.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// words is what a completer offers, by the words before and the one begun.
type words func(ctx context.Context, c *client.Client, args []string, typed string) ([]cobra.Completion, error)

// completing asks the cluster, once and for a short time. Whatever goes wrong,
// nothing is offered: a user who presses the tab key wants no messages.
func (s *Session) completing(offer words) completer {
	const directive = cobra.ShellCompDirectiveNoFileComp
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := s.Connect()
		if err != nil {
			return nil, directive
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completionTimeout)
		defer cancel()
		found, err := offer(ctx, c, args, typed)
		if err != nil {
			return nil, directive
		}
		return found, directive
	}
}

// completeKey offers the keys that begin with what was typed, as the first
// argument.
func (s *Session) completeKey() completer { return s.completeKeyAt(1) }

// completeKeyAt offers keys as the first most arguments.
func (s *Session) completeKeyAt(most int) completer {
	return s.completing(func(ctx context.Context, c *client.Client, args []string, typed string) ([]cobra.Completion, error) {
		if len(args) >= most {
			return nil, nil
		}
		return s.keysFrom(ctx, c, typed)
	})
}

// keysFrom reads keys of one member, without asking a majority.
func (s *Session) keysFrom(ctx context.Context, c *client.Client, typed string) ([]cobra.Completion, error) {
	prefix, err := s.bytes(typed[:len(typed)-s.halfByte(typed)])
	if err != nil {
		return nil, err
	}
	req := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: completionKeysMax, KeysOnly: true, Serializable: true}
	if len(prefix) > 0 {
		req.Key, req.RangeEnd = prefix, prefixEnd(prefix)
	}
	resp, _, err := c.Range(ctx, req)
	if err != nil {
		return nil, err
	}
	var keys []cobra.Completion
	for _, pair := range resp.GetKvs() {
		key := string(pair.GetKey())
		if s.hex {
			key = hex.EncodeToString(pair.GetKey())
		}
		if printable(key) && strings.HasPrefix(key, typed) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// halfByte is 1 if the last digit typed with --hex is half a byte.
func (s *Session) halfByte(typed string) int {
	if !s.hex {
		return 0
	}
	return len(typed) % 2
}

// completeMember offers the names of members, and the ids of those without one.
func (s *Session) completeMember() completer {
	return s.completing(func(ctx context.Context, c *client.Client, args []string, typed string) ([]cobra.Completion, error) {
		list, _, err := c.Members(ctx, false)
		if err != nil {
			return nil, err
		}
		var names []cobra.Completion
		for _, m := range list.GetMembers() {
			id := strconv.FormatUint(m.GetID(), 16)
			name := m.GetName()
			if name == "" {
				name = id
			}
			if strings.HasPrefix(name, typed) {
				names = append(names, cobra.CompletionWithDesc(name, id+" "+strings.Join(m.GetClientURLs(), ",")))
			}
		}
		return names, nil
	})
}

// completeLease offers the ids of leases.
func (s *Session) completeLease() completer {
	return s.completing(func(ctx context.Context, c *client.Client, args []string, typed string) ([]cobra.Completion, error) {
		resp, _, err := c.Leases(ctx)
		if err != nil || len(args) > 0 {
			return nil, err
		}
		var ids []cobra.Completion
		for _, l := range resp.GetLeases() {
			if id := leaseName(l.GetID()); strings.HasPrefix(id, typed) && len(ids) < completionKeysMax {
				ids = append(ids, id)
			}
		}
		return ids, nil
	})
}
