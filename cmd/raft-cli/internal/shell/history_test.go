package shell

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHistoryIsBoundedAndPrivate(t *testing.T) {
	state := t.TempDir()
	path := HistoryPath(func(name string) string { return map[string]string{"XDG_STATE_HOME": state}[name] })
	h, lines, err := openHistory(path)
	if err != nil || len(lines) > 0 {
		t.Fatal(lines, err)
	}
	const added = 2*historyMax + 10
	for i := range added {
		if kept, err := h.add(fmt.Sprintf("get %d", i)); err != nil || !kept {
			t.Fatal(i, kept, err)
		}
	}
	text, err := os.ReadFile(path)
	if n := strings.Count(string(text), "\n"); err != nil || n > 2*historyMax || n < historyMax {
		t.Errorf("%d lines in the file, %v", n, err)
	}
	// A file that others may read is theirs no longer.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, lines, err = openHistory(path); err != nil || len(lines) > historyMax || lines[len(lines)-1] != fmt.Sprintf("get %d", added-1) {
		t.Errorf("read again: %d lines, %v", len(lines), err)
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

func TestHistoryKeepsNoSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, _, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		"get k --user root:xyzzy", "get k --user=root:xyzzy", "get k --password xyzzy", "get k --Password=xyzzy",
		`get "--password=xyzzy`, "user add root:xyzzy", "  get xyzzy", "get k --auth-token xyzzy", `get k "--pass"word xyzzy`,
		"get \xff xyzzy", "get " + strings.Repeat("x", historyLineMaxBytes) + "xyzzy",
	} {
		if kept, err := h.add(secret); kept || err != nil {
			t.Errorf("%.60q: kept %v, %v", secret, kept, err)
		}
	}
	for _, plain := range []string{"get password", "set user 1", "get k --user root"} {
		if kept, err := h.add(plain); !kept || err != nil {
			t.Errorf("%q: kept %v, %v", plain, kept, err)
		}
	}
	if kept, err := h.add("get k --user root"); kept || err != nil {
		t.Errorf("the same line again: kept %v, %v", kept, err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "xyzzy") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestHistoryPath(t *testing.T) {
	for _, tc := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/raft-kv/shell_history"},
		{"", "/h", "/h/.local/state/raft-kv/shell_history"},
		{"relative", "/h", "/h/.local/state/raft-kv/shell_history"},
		{"", "", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": tc.state, "HOME": tc.home}
		if got := HistoryPath(func(name string) string { return env[name] }); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
