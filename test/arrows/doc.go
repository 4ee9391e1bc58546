// Package arrows enforces the house: which room may import which. It holds a
// test and no code.
package arrows
