package shell

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// takeSignalKeys makes Ctrl-C and its like characters on the terminal fd. The
// line editor does so itself, but only after it has shown its prompt: a key
// typed in between would be a signal, which nobody waits for.
func takeSignalKeys(fd int) error {
	mode, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return fmt.Errorf("the mode of the terminal: %w", err)
	}
	mode.Lflag &^= unix.ISIG
	if err := unix.IoctlSetTermios(fd, setTermios, mode); err != nil {
		return fmt.Errorf("the mode of the terminal: %w", err)
	}
	return nil
}
