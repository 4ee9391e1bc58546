package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modulePath is the module whose repository holds the servers' sources.
const modulePath = "raftkv"

// ErrNoRepository means that the sources were not found.
var ErrNoRepository = errors.New("not inside the repository of module " + modulePath)

// FindRepository walks up from directory to the repository's root.
func FindRepository(directory string) (string, error) {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return "", fmt.Errorf("looking for the repository: %w", err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(directory, "go.mod"))
		if err == nil && declaresModule(string(data)) {
			return directory, nil
		}
		parent := filepath.Dir(directory)
		if parent == directory {
			return "", ErrNoRepository
		}
		directory = parent
	}
}

func declaresModule(gomod string) bool {
	for line := range strings.Lines(gomod) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "module" {
			return fields[1] == modulePath
		}
	}
	return false
}

// Build compiles the package of the Go module in directory to output.
func Build(ctx context.Context, directory, pkg, output string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", output, pkg)
	cmd.Dir = directory
	// A workspace around the repository would change the reference's
	// dependencies.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s in %s: %w\n%s", pkg, directory, err, strings.TrimSpace(string(text)))
	}
	return nil
}
