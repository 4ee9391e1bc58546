// Package page renders a report of package compare as one HTML page with plots,
// which needs nothing from anywhere: no script, no style sheet, no font; and several
// reports as one table in Markdown.
//
// It computes nothing: every figure, ratio and verdict is the report's.
package page
