package verb

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
)

// format is the value of --write-out.
type format string

const (
	formatSimple format = "simple"
	formatJSON   format = "json"
	formatTable  format = "table"
)

func (f *format) String() string { return string(*f) }

// Type names the flag's value in the help.
func (f *format) Type() string { return "format" }

func (f *format) Set(s string) error {
	switch format(s) {
	case "text":
		*f = formatSimple
		return nil
	case formatSimple, formatJSON, formatTable:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("%q is not one of simple, json and table", s)
}

// output is the result of a verb in all formats.
type output struct {
	simple func(*bytes.Buffer)
	json   any
	head   []string
	rows   [][]string
}

// print writes o in the format that was asked for.
func (s *Session) print(o output) error {
	var b bytes.Buffer
	switch s.format {
	case formatJSON:
		line, err := json.Marshal(o.json)
		if err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
		b.Write(append(line, '\n'))
	case formatTable:
		if err := renderTable(&b, o.head, o.rows); err != nil {
			return fmt.Errorf("writing a table: %w", err)
		}
	default:
		o.simple(&b)
	}
	if _, err := s.Out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

func renderTable(b *bytes.Buffer, head []string, rows [][]string) error {
	t := tablewriter.NewTable(b,
		tablewriter.WithSymbols(tw.NewSymbols(tw.StyleASCII)),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithTrimSpace(tw.Off),
	)
	t.Header(head)
	if err := t.Bulk(rows); err != nil {
		return err
	}
	return t.Render()
}
