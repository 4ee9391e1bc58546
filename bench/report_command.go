package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/page"
)

func reportCommand() *cobra.Command {
	var from []string
	var html, markdown string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Make an HTML page with plots, or a table in Markdown, of the JSON that compare wrote",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown != "" && !cmd.Flags().Changed("html-file") {
				html = ""
			}
			switch {
			case len(from) == 0 || html == "" && markdown == "":
				return usageError{errors.New("json-file and html-file must not be empty")}
			case html != "" && len(from) > 1:
				return usageError{errors.New("a page shows one json-file, only markdown-file takes several")}
			}
			reports, err := readReports(from)
			if err != nil {
				return err
			}
			if html != "" {
				err = writeTo(html, func(out io.Writer) error { return page.Write(out, reports[0]) })
			}
			if err == nil && markdown != "" {
				err = writeTo(markdown, func(out io.Writer) error { return page.WriteMarkdown(out, reports) })
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&from, "json-file", []string{"bench-compare.json"}, "the raw figures; for a table several files, of which the latest counts")
	cmd.Flags().StringVar(&html, "html-file", "bench-compare.html", "where the page goes; none by default if there is a markdown-file")
	cmd.Flags().StringVar(&markdown, "markdown-file", "", "where the table goes")
	return cmd
}

func readReports(paths []string) ([]compare.Report, error) {
	var reports []compare.Report
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the raw figures: %w", err)
		}
		var report compare.Report
		if err := json.Unmarshal(data, &report); err != nil {
			return nil, fmt.Errorf("%s is not a report of bench compare: %w", path, err)
		}
		if len(report.Summary) == 0 {
			return nil, fmt.Errorf("%s is not a report of bench compare, or one without rows", path)
		}
		reports = append(reports, report)
	}
	return reports, nil
}

func writeTo(path string, write func(io.Writer) error) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}
