package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/client/clienttest"
	"raftkv/cmd/raft-cli/internal/verb"
)

// TestHelpIsComplete: every verb is in a group and has a help with an example,
// and what is no verb is wrong usage.
func TestHelpIsComplete(t *testing.T) {
	verbs := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		verbs++
		if cmd.Short == "" || !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: short %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s is not explained", cmd.CommandPath(), f.Name)
			}
		})
	}
	link := &connection{getenv: func(string) string { return "" }}
	s := &verb.Session{}
	root := newRoot(s, link)
	root.AddCommand(shellCommand(s, link))
	for _, c := range root.Commands() {
		other := c.Name() == "version" || c.Name() == "shell"
		if (c.GroupID == verb.OtherGroup) != other {
			t.Errorf("%s is in the group %q", c.Name(), c.GroupID)
		}
		visit(c)
	}
	if verbs < 20 {
		t.Errorf("only %d verbs", verbs)
	}
	for _, line := range []string{"frob", "help frob", "member", "member frob", "snapshot", "snapshot frob", "get a --frob", "help member frob"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), nil, &stdout, &stderr); code != 2 || stderr.Len() == 0 || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %s%s", line, code, stdout.String(), stderr.String())
		}
	}
}

// TestCompletionAsksTheCluster completes as bash does.
func TestCompletionAsksTheCluster(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 3})
	t.Setenv(endpointsVariable, strings.Join(cluster.Endpoints(), ","))
	cli := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, nil, &stdout, &stderr); code != 0 {
			t.Fatalf("%q: exit code %d, %s", args, code, stderr.String())
		}
		return stdout.String()
	}
	for _, key := range []string{"fruit/apple", "fruit/banana", "name", "line\nbreak"} {
		cli("set", key, "x")
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "fruit/"}, "fruit/apple\nfruit/banana\n:4\n"},
		{[]string{"get", "na"}, "name\n:4\n"},
		{[]string{"get", "line"}, ":4\n"}, // a line could not hold it
		{[]string{"get", "name", "fr"}, ":4\n"},
		{[]string{"--hex", "get", "6e6"}, "6e616d65\n:4\n"},
		{[]string{"--hex", "get", "xyz"}, ":4\n"},
		{[]string{"move-leader", ""}, "1\n2\n3\n:4\n"},
		{[]string{"-w", "ta"}, "simple\njson\ntable\n:4\n"}, // the shell chooses
		{[]string{"member", "pro"}, "promote\n:4\n"},
		{[]string{"help", "member", "pro"}, "promote\n:4\n"},
	} {
		if got := cli(append([]string{cobra.ShellCompNoDescRequestCmd}, tc.args...)...); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.args, got, tc.want)
		}
	}
}
