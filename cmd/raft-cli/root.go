package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/client"
	"raftkv/cmd/raft-cli/internal/verb"
)

// endpointsVariable names the environment variable with the endpoints.
const endpointsVariable = "RAFTKV_ENDPOINTS"

// newRoot builds the command line: the shared flags and all verbs.
func newRoot(s *verb.Session, link *connection) *cobra.Command {
	root := &cobra.Command{
		Use:   "raft-cli",
		Short: "Read, write and watch over a raft-kv cluster",
		Long: `Read, write and watch over a raft-kv cluster, or one of etcd.

The exit code is 0 when done, 1 when refused or failed, 2 for wrong usage.`,
		Example: `  raft-cli set name Alice
  raft-cli get name
  raft-cli status
  raft-cli shell`,
		// run prints errors, and help only where it was asked for.
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			return fmt.Errorf("%w (write -- before a key or a value that begins with a dash)", err)
		}
		return err
	})
	s.RegisterFlags(root.PersistentFlags())
	link.registerFlags(root.PersistentFlags())
	root.SetHelpCommandGroupID(verb.OtherGroup)
	root.SetCompletionCommandGroupID(verb.OtherGroup)
	verbs := verb.Commands(s)
	root.AddGroup(verb.GroupsOf(verbs)...)
	root.AddCommand(verbs...)
	root.SetHelpCommand(helpCommand())
	return root
}

// helpCommand is help, which cobra's own lets succeed for verbs that do not
// exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB...]", Short: "Explain a verb", GroupID: verb.OtherGroup,
		Example: "  raft-cli help get\n  raft-cli help member add",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if of, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range of.Commands() {
					if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), typed) {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("there is no verb %q", strings.Join(args, " "))
			}
			if err != nil {
				return err
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// connection is the client of this process, made when it is first asked for,
// and anew when a line of the shell names other endpoints or certificates.
type connection struct {
	getenv      func(string) string
	endpoints   string
	given       func() bool // whether endpoints was set by a flag
	dialTimeout time.Duration
	tls         tlsFiles
	made        *client.Client
	madeFor     string
}

func (l *connection) registerFlags(flags *pflag.FlagSet) {
	flags.StringVar(&l.endpoints, "endpoints", "",
		"where to connect, tried in order: host:port, http://host:port or https://host:port, separated by commas\n"+
			"(else $"+endpointsVariable+", else localhost:8001,localhost:8002,localhost:8003 and,\nif none of these can be reached, localhost:2379)")
	flags.DurationVar(&l.dialTimeout, "dial-timeout", time.Second, "how long connecting to one endpoint may take")
	l.tls.registerFlags(flags)
	l.given = func() bool { return flags.Changed("endpoints") }
}

// config says where to connect.
func (l *connection) config() (cfg client.Config, err error) {
	cfg.DialTimeout = l.dialTimeout
	if cfg.TLS, err = l.tls.config(l.getenv); err != nil {
		return cfg, err
	}
	switch env := l.getenv(endpointsVariable); {
	case l.given():
		cfg.Endpoints = splitList(l.endpoints)
	case env != "":
		cfg.Endpoints = splitList(env)
	default:
		cfg.Endpoints = []string{"localhost:8001", "localhost:8002", "localhost:8003"}
		cfg.Fallback = []string{"localhost:2379"}
	}
	return cfg, nil
}

func splitList(s string) []string {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// client connects on the first call. Its errors are mistakes in the flags.
func (l *connection) client() (*client.Client, error) {
	if l.dialTimeout <= 0 {
		return nil, &verb.UsageError{Err: fmt.Errorf("--dial-timeout %v is not positive", l.dialTimeout)}
	}
	wanted := fmt.Sprintf("%v %q %v %+v", l.given(), l.endpoints, l.dialTimeout, l.tls)
	if l.made != nil && l.madeFor != wanted {
		if err := l.close(); err != nil {
			return nil, err
		}
	}
	if l.made == nil {
		cfg, err := l.config()
		if err != nil {
			return nil, &verb.UsageError{Err: err}
		}
		c, err := client.New(cfg)
		if err != nil {
			return nil, &verb.UsageError{Err: err}
		}
		l.made, l.madeFor = c, wanted
	}
	return l.made, nil
}

func (l *connection) close() error {
	if l.made == nil {
		return nil
	}
	closing := l.made
	l.made = nil
	return closing.Close()
}
