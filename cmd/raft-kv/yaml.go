package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// setting is one key of a configuration file.
type setting struct {
	key   string // as written, section first
	flag  string // that it stands for
	value string // as the flag takes it
	truth bool   // whether it was true or false in YAML, as also y, no and off are
	plain bool   // whether it was a number without a unit
}

// parseYAML reads a configuration file. Keys without a value set nothing.
func parseYAML(data []byte) ([]setting, error) {
	doc, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("not valid YAML: %w", err)
	}
	// Numbers as written: 8589934592 must not become 8.589934592e+09.
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var top map[string]any
	if err := d.Decode(&top); err != nil {
		return nil, errors.New("not a list of keys and values")
	}
	var settings []setting
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(top)) {
		more, err := keySettings(key, top[key])
		settings = append(settings, more...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return settings, errors.Join(errs...)
}

// keySettings translates a key of the top level, which may be a section.
func keySettings(key string, value any) ([]setting, error) {
	prefix, isSection := map[string]string{"client-transport-security": "", "peer-transport-security": "peer-"}[key]
	if !isSection {
		return one(key, key, value)
	}
	if value == nil {
		return nil, nil
	}
	section, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("key %q: keys and values expected below it", key)
	}
	var settings []setting
	for _, below := range slices.Sorted(maps.Keys(section)) {
		flag, known := sectionFlags(prefix)[below]
		if !known {
			return nil, fmt.Errorf("unknown key %q below %q", below, key)
		}
		more, err := one(key+"."+below, flag, section[below])
		if err != nil {
			return nil, err
		}
		settings = append(settings, more...)
	}
	return settings, nil
}

// sectionFlags maps the keys of a section to flags.
func sectionFlags(prefix string) map[string]string {
	flags := map[string]string{}
	for _, same := range []string{"cert-file", "key-file", "client-cert-file", "client-key-file", "client-cert-auth", "trusted-ca-file", "auto-tls"} {
		flags[same] = prefix + same
	}
	if prefix == "" {
		flags["allowed-cn"], flags["allowed-hostname"], flags["crl-file"] = "client-cert-allowed-cn", "client-cert-allowed-hostname", "client-crl-file"
		return flags
	}
	flags["allowed-cn"], flags["allowed-hostname"], flags["crl-file"] = "peer-cert-allowed-cn", "peer-cert-allowed-hostname", "peer-crl-file"
	flags["skip-client-san-verification"] = "peer-skip-client-san-verification"
	return flags
}

func one(key, flag string, value any) ([]setting, error) {
	if value == nil {
		return nil, nil
	}
	text, err := flagValue(value)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", key, err)
	}
	_, truth := value.(bool)
	_, plain := value.(json.Number)
	return []setting{{key, flag, text, truth, plain}}, nil
}

// flagValue writes a value as flags take it.
func flagValue(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case json.Number:
		return v.String(), nil
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			text, ok := item.(string)
			if !ok {
				return "", fmt.Errorf("%v is not a text", item)
			}
			items[i] = text
		}
		return strings.Join(items, ","), nil
	}
	return "", errors.New("a single value or a list expected")
}
