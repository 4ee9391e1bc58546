package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestEveryFlagByEveryWay gives each flag on the command line, by either
// variable and as a key of the file, and expects the same of all.
func TestEveryFlagByEveryWay(t *testing.T) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&memberOptions{}).register(all)
	all.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config-file" || f.Name == "version" {
			return
		}
		value, inFile, want := sample(t, f)
		ways := map[string][2]string{
			"flag":     {"--" + f.Name + "=" + value, ""},
			"variable": {"", variable(ownPrefix, f.Name) + "=" + value},
			"file":     {"--config-file=" + fileWith(t, f.Name, inFile), ""},
		}
		if !isOurs(f) {
			ways["etcd's variable"] = [2]string{"", variable(etcdPrefix, f.Name) + "=" + value}
		}
		for way, given := range ways {
			o := &memberOptions{}
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			o.register(flags)
			var args []string
			if given[0] != "" {
				args = []string{given[0]}
			}
			if err := flags.Parse(args); err != nil {
				t.Fatal(err)
			}
			got, err := o.resolve([]string{given[1]})
			if err != nil {
				t.Errorf("--%s by %s: %v", f.Name, way, err)
				continue
			}
			set := got.flags.Lookup(f.Name)
			if set.Value.String() != want || !set.Changed {
				t.Errorf("--%s by %s is %q, want %q", f.Name, way, set.Value, want)
			}
		}
	})
}

// sample is a value that is not the default: as a flag takes it, as YAML, and as
// the flag then shows it.
func sample(t *testing.T, f *pflag.Flag) (value, inFile, want string) {
	t.Helper()
	switch kind := f.Value.Type(); kind {
	case "bool":
		if f.DefValue == "true" {
			return "false", "false", "false"
		}
		return "true", "true", "true"
	case "duration": // a file of etcd has nanoseconds
		return "1m7s", "67000000000", "1m7s"
	case "int", "int64", "uint", "uint32", "uint64":
		return "77", "77", "77"
	case "string":
		return "seven", "seven", "seven"
	case "strings":
		return "a, b", "[a, b]", "a,b"
	default:
		t.Fatalf("--%s: no sample of a %s", f.Name, kind)
		return "", "", ""
	}
}

// fileWith writes a file with one flag, in the section where etcd has it.
func fileWith(t *testing.T, flag, value string) (path string) {
	t.Helper()
	content := flag + ": " + value
	for section, prefix := range map[string]string{"client-transport-security": "", "peer-transport-security": "peer-"} {
		for key, name := range sectionFlags(prefix) {
			if name == flag {
				content = section + ": {" + key + ": " + value + "}"
			}
		}
	}
	path = filepath.Join(t.TempDir(), strings.ReplaceAll(flag, "-", "_")+".yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
