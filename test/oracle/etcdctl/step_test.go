package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	"raftkv/test/e2e/harness"
)

// where says which members are etcdctl's endpoints.
type where int

const (
	first    where = iota
	all            // founders
	leader         // the one that leads
	follower       // one that does not
)

// step is one call of etcdctl, or what makes the next ones possible.
type step struct {
	// args are words; {name} stands for what was captured, or is known of the
	// members: {m1} its id, {m1-client} and {m1-peer} its addresses. ' quotes.
	args  string
	stdin string
	at    where
	// capture is a regular expression whose group is the hexadecimal id that
	// {as} stands for from then on.
	capture, as string
	// until has the step interrupted once it has printed this. A step with
	// during is interrupted once those have run.
	until  string
	during []step
	// repeat has the step run again until it prints this: it waits for something.
	repeat string
	// start starts the fourth member before anything else.
	start bool
	// mask replaces what may differ in this step alone.
	mask []mask
}

// outcome is what a step printed, masked.
type outcome struct{ args, printed string }

var (
	reference = regexp.MustCompile(`\{([a-z0-9-]+)\}`)
	words     = regexp.MustCompile(`'[^']*'|\S+`)
)

// expand fills in what words refer to.
func (c *cluster) expand(args string) []string {
	var expanded []string
	for _, word := range words.FindAllString(args, -1) {
		expanded = append(expanded, strings.Trim(reference.ReplaceAllStringFunc(word, func(ref string) string {
			name := ref[1 : len(ref)-1]
			for _, m := range c.members {
				switch name {
				case m.Name + "-client":
					return m.ClientURL
				case m.Name + "-peer":
					return m.PeerURL
				}
			}
			switch id, ok := c.names[name]; {
			case ok:
				return id
			case name == "other":
				_, other := c.leader()
				return c.names[other.Name]
			}
			c.t.Fatalf("%s: nothing is known as %s", args, ref)
			return ""
		}), "'"))
	}
	return expanded
}

func (c *cluster) endpoints(at where) []member {
	switch at {
	case all:
		return c.members[:founders]
	case leader:
		m, _ := c.leader()
		return []member{m}
	case follower:
		_, m := c.leader()
		return []member{m}
	}
	return c.members[:1]
}

// play runs steps and returns what they printed.
func (c *cluster) play(steps []step) (outcomes []outcome) {
	c.t.Helper()
	for _, s := range steps {
		if s.start {
			p := harness.Start(c.t, c.kind.command(c.members[founders]))
			p.ExactLine(harness.Patience, c.kind.ready)
			continue
		}
		result, within := c.do(s)
		if s.capture != "" {
			found := regexp.MustCompile(s.capture).FindStringSubmatch(result.Stdout)
			if found == nil {
				c.t.Fatalf("%s: etcdctl %s: no %s in %v", c.kind.name, s.args, s.capture, result)
			}
			c.names[s.as] = found[1]
		}
		printed := fmt.Sprintf("%s%sexit code %d", result.Stdout, result.Stderr, result.Code)
		outcomes = append(outcomes, outcome{s.args, c.masked(printed, s.mask)})
		outcomes = append(outcomes, within...)
	}
	return outcomes
}

func (c *cluster) do(s step) (result harness.Result, within []outcome) {
	c.t.Helper()
	switch {
	case s.until != "" || s.during != nil:
		return c.interrupted(s)
	case s.repeat != "":
		harness.Until(c.t, harness.Patience, s.args, func(context.Context) error {
			result = c.run(s.stdin, c.endpoints(s.at), c.expand(s.args)...)
			if !strings.Contains(result.Stdout+result.Stderr, s.repeat) {
				return errors.New(result.String())
			}
			return nil
		})
		return result, nil
	}
	return c.run(s.stdin, c.endpoints(s.at), c.expand(s.args)...), nil
}

// interrupted runs a step that ends only by a signal.
func (c *cluster) interrupted(s step) (harness.Result, []outcome) {
	c.t.Helper()
	input, typing := openPipe(c.t) // stays open behind what is typed
	if _, err := typing.WriteString(s.stdin); err != nil {
		c.t.Fatal(err)
	}
	p := harness.Start(c.t, c.command(input, c.endpoints(s.at), c.expand(s.args)...))
	if s.until != "" {
		harness.Until(c.t, harness.Patience, fmt.Sprintf("%s: etcdctl %s: %q", c.kind.name, s.args, s.until), func(context.Context) error {
			if !strings.Contains(p.Stdout.String(), s.until) {
				return fmt.Errorf("stdout %q, stderr %q", p.Stdout.String(), p.Stderr.String())
			}
			return nil
		})
	}
	within := c.play(s.during)
	p.Signal(syscall.SIGINT)
	code := p.Exit(harness.Patience)
	return harness.Result{Stdout: p.Stdout.String(), Stderr: p.Stderr.String(), Code: code}, within
}
