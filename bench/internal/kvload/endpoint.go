package kvload

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// ParseEndpoints checks endpoints written as host:port or http://host:port and
// returns them as host:port. It reports all faults at once.
func ParseEndpoints(list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, errors.New("no endpoint given")
	}
	var out []string
	var faults []error
	for _, text := range list {
		endpoint, err := parseEndpoint(strings.TrimSpace(text))
		if err != nil {
			faults = append(faults, fmt.Errorf("endpoint %q: %w", text, err))
			continue
		}
		out = append(out, endpoint)
	}
	return out, errors.Join(faults...)
}

func parseEndpoint(text string) (string, error) {
	if scheme, _, found := strings.Cut(text, "://"); found {
		if scheme != "http" {
			return "", fmt.Errorf("scheme %s is not supported, only http", scheme)
		}
		u, err := url.Parse(text)
		if err != nil {
			return "", errors.New("not a URL")
		}
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			return "", errors.New("only host and port are allowed behind http://")
		}
		text = u.Host
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errors.New("not of the form host:port")
	}
	if host == "" {
		return "", errors.New("the host is missing")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	return text, nil
}
