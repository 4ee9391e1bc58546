package verb

import (
	"fmt"
	"strconv"
	"strings"
)

// Words splits a line into words as etcdctl's transactions do: at blanks,
// except inside quotes. Double quotes know Go's escapes (\n, \x00, \"), single
// quotes none. Quoted and plain parts that touch form one word.
func Words(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n")
		if line == "" {
			return words, nil
		}
		var word strings.Builder
		for line != "" && !strings.ContainsRune(" \t\r\n", rune(line[0])) {
			part, rest, err := nextPart(line)
			if err != nil {
				return nil, err
			}
			word.WriteString(part)
			line = rest
		}
		words = append(words, word.String())
	}
}

// nextPart takes one quoted part, or plain text up to a blank or a quote.
func nextPart(line string) (part, rest string, err error) {
	switch line[0] {
	case '"':
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", "", fmt.Errorf("the quotes of %s are not closed or hold a wrong escape", line)
		}
		part, err = strconv.Unquote(quoted)
		return part, line[len(quoted):], err
	case '\'':
		part, rest, closed := strings.Cut(line[1:], "'")
		if !closed {
			return "", "", fmt.Errorf("the quotes of %s are not closed", line)
		}
		return part, rest, nil
	}
	end := strings.IndexAny(line, " \t\r\n\"'")
	if end < 0 {
		end = len(line)
	}
	return line[:end], line[end:], nil
}
