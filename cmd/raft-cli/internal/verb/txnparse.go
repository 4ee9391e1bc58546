package verb

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// parseTxn reads a transaction in etcdctl's syntax: lines of comparisons, of
// operations if all of them hold, and of operations otherwise, each part ended
// by an empty line or the end of the text.
func parseTxn(text string) (*pb.TxnRequest, error) {
	req := &pb.TxnRequest{}
	number, part := 0, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" {
			part++
			continue
		}
		if err := addTxnLine(req, part, line); err != nil {
			return nil, usagef("line %d of the transaction: %w", number, err)
		}
	}
	if len(req.Success)+len(req.Failure) == 0 {
		return nil, usagef("the transaction on the standard input has no operations")
	}
	return req, nil
}

func addTxnLine(req *pb.TxnRequest, part int, line string) error {
	if part == 0 {
		c, err := parseCompare(line)
		req.Compare = append(req.Compare, c)
		return err
	}
	op, err := parseOp(line)
	switch part {
	case 1:
		req.Success = append(req.Success, op)
	case 2:
		req.Failure = append(req.Failure, op)
	default:
		return fmt.Errorf("%s stands behind the empty line that ends the third and last part", line)
	}
	return err
}

// parseCompare reads TARGET("key") OPERATOR "value". Quotes may be left out
// where nothing in the text needs them.
func parseCompare(line string) (*pb.Compare, error) {
	target, rest, ok := strings.Cut(line, "(")
	if !ok {
		return nil, fmt.Errorf(`%s is no comparison, such as mod("key") > "0"`, line)
	}
	key, rest, err := operand(rest, ")")
	if err != nil {
		return nil, err
	}
	rest, ok = strings.CutPrefix(strings.TrimSpace(rest), ")")
	if !ok {
		return nil, fmt.Errorf("%s lacks the closing parenthesis after the key", line)
	}
	c := &pb.Compare{Key: []byte(key)}
	rest = strings.TrimSpace(rest)
	switch {
	case strings.HasPrefix(rest, "!="):
		c.Result, rest = pb.Compare_NOT_EQUAL, rest[2:]
	case strings.HasPrefix(rest, "="):
		c.Result, rest = pb.Compare_EQUAL, rest[1:]
	case strings.HasPrefix(rest, "<"):
		c.Result, rest = pb.Compare_LESS, rest[1:]
	case strings.HasPrefix(rest, ">"):
		c.Result, rest = pb.Compare_GREATER, rest[1:]
	default:
		return nil, fmt.Errorf("%s has none of the operators =, !=, < and >", line)
	}
	value, rest, err := operand(strings.TrimSpace(rest), "")
	if err != nil {
		return nil, err
	}
	if rest = strings.TrimSpace(rest); rest != "" {
		return nil, fmt.Errorf("%s follows the value", rest)
	}
	return c, setTarget(c, strings.TrimSpace(target), value)
}

// operand takes a quoted text, or a plain one up to the character end or, if
// that is empty, to the end of the line.
func operand(text, end string) (value, rest string, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "'") {
		return nextPart(text)
	}
	i := len(text)
	if end != "" {
		i = max(0, strings.Index(text, end))
	}
	if value = strings.TrimSpace(text[:i]); value == "" {
		return "", "", fmt.Errorf("a key or a value is missing before %q", text[i:])
	}
	return value, text[i:], nil
}

// setTarget says what of the key is compared, and with what.
func setTarget(c *pb.Compare, target, value string) error {
	base := 10
	switch target {
	case "ver", "version":
		c.Target = pb.Compare_VERSION
	case "c", "create":
		c.Target = pb.Compare_CREATE
	case "m", "mod":
		c.Target = pb.Compare_MOD
	case "lease":
		c.Target, base = pb.Compare_LEASE, 16
	case "val", "value":
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(value)}
		return nil
	default:
		return fmt.Errorf("%q is none of version, create, mod, value and lease", target)
	}
	n, err := strconv.ParseInt(value, base, 64)
	if err != nil {
		return fmt.Errorf("%s is compared with a number, not with %q", target, value)
	}
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: n}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: n}
	}
	return nil
}

// parseOp reads one of put, get and del with the flags of the verbs. Quotes
// have escapes for all bytes, so --hex concerns only the output of a
// transaction.
func parseOp(line string) (*pb.RequestOp, error) {
	words, err := Words(line)
	if err != nil {
		return nil, err
	}
	plain := &Session{}
	flags := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
	switch words[0] {
	case "put", "set":
		lease := flags.String("lease", "0", "")
		prevKV := flags.Bool("prev-kv", false, "")
		args, err := arguments(flags, words, 2, 2)
		if err != nil {
			return nil, err
		}
		id, err := parseLease(*lease)
		put := &pb.PutRequest{Key: []byte(args[0]), Value: []byte(args[1]), Lease: id, PrevKv: *prevKV}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}, err
	case "get":
		var get getFlags
		get.register(flags)
		args, err := arguments(flags, words, 1, 2)
		if err != nil {
			return nil, err
		}
		r, err := get.request(plain, args)
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}, err
	case "del", "delete":
		var del rangeFlags
		del.register(flags)
		args, err := arguments(flags, words, 1, 2)
		if err != nil {
			return nil, err
		}
		key, end, err := del.bounds(plain, args)
		d := &pb.DeleteRangeRequest{Key: key, RangeEnd: end}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}, err
	}
	return nil, fmt.Errorf("%q is none of put, get and del", words[0])
}

// arguments parses the flags of an operation and counts what is left.
func arguments(flags *pflag.FlagSet, words []string, least, most int) ([]string, error) {
	flags.Usage = func() {} // an error is told as all others are
	if err := flags.Parse(words[1:]); err != nil {
		return nil, err
	}
	if n := flags.NArg(); n < least || n > most {
		return nil, fmt.Errorf("%s does not take %s", words[0], plural(int64(n), "argument"))
	}
	return flags.Args(), nil
}
