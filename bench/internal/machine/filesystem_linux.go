package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystem names the type of the file system that holds directory.
func fileSystem(directory string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(directory, &s); err != nil {
		return unknown
	}
	// The type has another integer size on some architectures.
	switch magic := uint32(s.Type); magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4" // ext2 and ext3 share the number
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	default:
		return fmt.Sprintf("type 0x%x", magic)
	}
}
