package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/page"
)

func reportCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Make an HTML page with plots of the JSON that compare wrote",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if from == "" || to == "" {
				return usageError{errors.New("json-file and html-file must not be empty")}
			}
			data, err := os.ReadFile(from)
			if err != nil {
				return fmt.Errorf("reading the raw figures: %w", err)
			}
			var report compare.Report
			if err := json.Unmarshal(data, &report); err != nil {
				return fmt.Errorf("%s is not a report of bench compare: %w", from, err)
			}
			if len(report.Summary) == 0 {
				return fmt.Errorf("%s is not a report of bench compare, or one without rows", from)
			}
			return writePage(to, report)
		},
	}
	cmd.Flags().StringVar(&from, "json-file", "bench-compare.json", "the raw figures")
	cmd.Flags().StringVar(&to, "html-file", "bench-compare.html", "where the page goes")
	return cmd
}

func writePage(path string, report compare.Report) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return page.Write(file, report)
}
