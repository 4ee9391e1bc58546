package arrows

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "raftkv"

// rooms maps each room to the rooms its code may import directly, and to
// prefixes of outside packages that it must not. A package belongs to the
// longest prefix listed.
var rooms = map[string]struct {
	may   []string
	never []string
}{
	"node":         {never: []string{"google.golang.org/grpc", "github.com/cockroachdb/pebble"}},
	"wal":          {never: []string{"google.golang.org/grpc"}},
	"snap":         {never: []string{"google.golang.org/grpc"}},
	"statemachine": {never: []string{"google.golang.org/grpc"}},
	"rpc":          {may: []string{"node", "statemachine"}, never: []string{"github.com/cockroachdb/pebble"}},
	"server":       {may: []string{"rpc", "node", "wal", "snap", "statemachine"}},
	"operator":     {may: []string{"wal", "snap", "statemachine", "server/identity"}},
	"client":       {may: []string{"rpc"}, never: []string{"github.com/cockroachdb/pebble"}},
	"bench":        {may: []string{"client", "rpc"}, never: []string{"github.com/cockroachdb/pebble"}},
	"cmd/raft-kv":  {may: []string{"server", "operator"}},
	"cmd/raft-cli": {may: []string{"client", "operator", "rpc/kvstream/kvpb"}, never: []string{"github.com/cockroachdb/pebble"}},
	// Tests may look at everything.
	"test": {may: []string{"node", "wal", "snap", "statemachine", "rpc", "server", "operator", "client", "bench", "cmd"}},
}

func roomOf(path string) string {
	best := ""
	for room := range rooms {
		if (path == room || strings.HasPrefix(path, room+"/")) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

// TestArrowsPointDown checks the direct imports of every file that is not a
// test.
func TestArrowsPointDown(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		files++
		checkFile(t, filepath.ToSlash(dir), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("only %d files seen: the walk is broken", files)
	}
}

func checkFile(t *testing.T, dir, path string) {
	room := roomOf(dir)
	if room == "" {
		t.Errorf("%s is in no room: add it to the house or move it", path)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if inside, ok := strings.CutPrefix(imported, module+"/"); ok {
			if !allowed(room, inside) {
				t.Errorf("%s: %s must not import %s", path, room, imported)
			}
			continue
		}
		for _, p := range rooms[room].never {
			if imported == p || strings.HasPrefix(imported, p+"/") {
				t.Errorf("%s: %s must not import %s", path, room, imported)
			}
		}
	}
}

func allowed(room, inside string) bool {
	if strings.HasPrefix(inside+"/", room+"/") {
		return true
	}
	for _, may := range rooms[room].may {
		if inside == may || strings.HasPrefix(inside, may+"/") {
			return true
		}
	}
	return false
}
