//go:build !linux

package machine

// fileSystem is learnt on Linux only.
func fileSystem(string) string { return unknown }
