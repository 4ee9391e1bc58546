package shell

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// word is a part of a line.
type word struct {
	text  string
	start int  // offset in the line, of its quote if it has one
	open  bool // a quote was not closed
}

// line is a command line taken apart.
type line struct {
	words []word
	// end is the line that ends the input of the verb: "EOF" behind <<EOF.
	end string
}

func (l line) texts() []string {
	var list []string
	for _, w := range l.words {
		list = append(list, w.text)
	}
	return list
}

var (
	errOpenQuote = errors.New("a quote is not closed")
	errInputLast = errors.New("<<WORD stands at the end of a line")
)

// split takes a line apart as a shell does: words are separated by blanks, a
// backslash takes the next character as it is, single quotes everything, and #
// at the beginning of a word begins a comment. In double quotes, as in
// transactions, \n, \x00 and the like stand for the bytes that they name.
func split(text string) (line, error) {
	l, err := scan(text)
	if err == nil && len(l.words) > 0 && l.words[len(l.words)-1].open {
		err = errOpenQuote
	}
	return l, err
}

const blanks = " \t\r\n"

// scan is split for a line that may end within quotes.
func scan(text string) (l line, err error) {
	at := 0
	for {
		at += len(text[at:]) - len(strings.TrimLeft(text[at:], blanks))
		rest := text[at:]
		switch {
		case rest == "" || rest[0] == '#':
			return l, nil
		case l.end != "":
			return l, errInputLast
		case strings.HasPrefix(rest, "<<"):
			n := strings.IndexAny(rest, blanks)
			if n < 0 {
				n = len(rest)
			}
			if l.end = rest[2:n]; !plainWord(l.end) {
				return l, fmt.Errorf("%q is not << and a word of letters and digits", rest[:n])
			}
			at += n
		default:
			w, n, err := scanWord(rest)
			if err != nil {
				return l, err
			}
			w.start = at
			l.words = append(l.words, w)
			at += n
		}
	}
}

// scanWord takes the word at the beginning of text, n bytes of it.
func scanWord(text string) (w word, n int, err error) {
	var b strings.Builder
	for n < len(text) && !strings.ContainsRune(blanks, rune(text[n])) && !w.open {
		var part string
		var used int
		switch c := text[n]; c {
		case '\'':
			part, used, w.open = singleQuoted(text[n:])
		case '"':
			part, used, w.open, err = doubleQuoted(text[n:])
		case '\\':
			if used = min(2, len(text)-n); used == 2 {
				part = text[n+1 : n+2]
			} else {
				part = `\`
			}
		default:
			part, used = text[n:n+1], 1
		}
		if err != nil {
			return w, n, err
		}
		b.WriteString(part)
		n += used
	}
	w.text = b.String()
	return w, n, nil
}

func singleQuoted(text string) (part string, used int, open bool) {
	part, _, closed := strings.Cut(text[1:], "'")
	if !closed {
		return part, len(text), true
	}
	return part, len(part) + 2, false
}

// doubleQuoted reads up to the closing quote; without one, what can be read of
// all that is there.
func doubleQuoted(text string) (part string, used int, open bool, err error) {
	end := 1
	for end < len(text) && text[end] != '"' {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	open = end >= len(text)
	inner := text[1:min(end, len(text))]
	// Line ends and tabs are no part of Go's quotes but may stand in ours.
	part, err = strconv.Unquote(`"` + strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(inner) + `"`)
	if err != nil {
		if open {
			return inner, len(text), true, nil
		}
		return "", 0, false, fmt.Errorf(`"%s" holds an escape that is none of \n \t \\ \" \x00 and the like`, inner)
	}
	return part, min(end+1, len(text)), open, nil
}

func plainWord(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
}

// quote is how a word is typed so that split gives it back.
func quote(text string) string {
	special := func(r rune) bool { return strings.ContainsRune(blanks+`'"\#<`, r) || !unicode.IsPrint(r) }
	switch {
	case text != "" && strings.IndexFunc(text, special) < 0:
		return text
	case strings.IndexFunc(text, func(r rune) bool { return r == '\'' || r == unicode.ReplacementChar || !unicode.IsPrint(r) }) < 0:
		return "'" + text + "'"
	}
	return strconv.Quote(text)
}
