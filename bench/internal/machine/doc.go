// Package machine describes where figures were taken: processors, kernel, disk,
// versions. A figure without them cannot be compared with another one.
//
// A fact that cannot be learnt is written as "unknown", never left out or
// guessed. Only the disk probe has side effects: one file in the directory it
// is given, removed before it returns.
package machine
