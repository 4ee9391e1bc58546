package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

func (c *Config) validateWALDir() error {
	if c.WALDir == "" {
		return nil
	}
	if c.Memory {
		return errors.New("--wal-dir has no meaning in memory mode")
	}
	root, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	_, err = c.separateWALDir(root)
	return err
}

// separateWALDir is the absolute path of a log outside of the data directory;
// empty if it belongs in there.
func (c *Config) separateWALDir(root string) (string, error) {
	if c.WALDir == "" {
		return "", nil
	}
	dir, err := filepath.Abs(c.WALDir)
	if err != nil {
		return "", fmt.Errorf("--wal-dir: %w", err)
	}
	if dir == filepath.Join(root, "member", "wal") {
		return "", nil
	}
	// Each would have the other one's files in it.
	for _, pair := range [][2]string{{root, dir}, {dir, root}} {
		if pair[0] == pair[1] || strings.HasPrefix(pair[1], strings.TrimSuffix(pair[0], "/")+"/") {
			return "", fmt.Errorf("--wal-dir %s and --data-dir %s must not contain each other", dir, root)
		}
	}
	return dir, nil
}
