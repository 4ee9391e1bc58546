package wire

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Supported says whether connections can be told apart here.
const Supported = true

var errStranger = errors.New("no node owns the connection")

// owner finds the node that dialled.
func (n *Network) owner(in net.Conn) (node int, err error) {
	inode, err := socketOf(in.RemoteAddr().(*net.TCPAddr), in.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	processes := maps.Clone(n.processes)
	n.mu.Unlock()
	link := "socket:[" + inode + "]"
	for node, pid := range processes {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return 0, err
		}
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == link {
				return node, nil
			}
		}
	}
	return 0, errStranger
}

// socketOf finds the socket that is the other end of a connection on loopback.
func socketOf(local, remote *net.TCPAddr) (inode string, err error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	ours := []string{kernelAddress(local), kernelAddress(remote)}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// Number, local and remote address, …, and the inode as the tenth.
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && slices.Equal(fields[1:3], ours) {
			return fields[9], nil
		}
	}
	return "", errors.Join(lines.Err(), errStranger)
}

// kernelAddress is an IPv4 address as /proc shows it: the bytes of the address
// as one little-endian number, the port as a number.
func kernelAddress(a *net.TCPAddr) string {
	ip := slices.Clone(a.IP.To4())
	slices.Reverse(ip)
	return strings.ToUpper(hex.EncodeToString(ip)) + fmt.Sprintf(":%04X", a.Port)
}
