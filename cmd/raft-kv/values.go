package main

import "strings"

// list is a comma-separated list. Unlike pflag's own, a later one replaces an
// earlier one.
type list []string

func (l *list) Set(s string) error {
	*l = nil
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

func (l *list) String() string { return strings.Join(*l, ",") }

// Type is how help calls it.
func (*list) Type() string { return "strings" }

// text is a value that is only kept, to be judged when all are known.
type text string

func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) String() string     { return string(*t) }

// Type is how help calls it.
func (*text) Type() string { return "string" }
