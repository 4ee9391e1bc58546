package oracle

import "slices"

// Shrink drops operations from a program while differs holds for what is left:
// first all plain reads, which change nothing, then large pieces, in the end
// one by one. It asks differs at most attempts times and returns the shortest
// program found, which is the given one if nothing can go. The last operation,
// the one that differs, always stays.
func Shrink(program []Operation, attempts int, differs func([]Operation) bool) []Operation {
	if len(program) == 0 {
		return program
	}
	try := func(candidate []Operation) bool {
		if attempts == 0 || len(candidate) == len(program) {
			return false
		}
		attempts--
		if !differs(candidate) {
			return false
		}
		program = candidate
		return true
	}
	try(withoutReads(program))
	for piece := (len(program) + 1) / 2; piece >= 1; {
		shrunk := false
		for end := len(program) - 1; end > 0; end -= piece {
			shrunk = try(slices.Concat(program[:max(0, end-piece)], program[end:])) || shrunk
		}
		switch {
		case piece > 1:
			piece /= 2
		case !shrunk:
			return program
		}
	}
	return program
}

func withoutReads(program []Operation) []Operation {
	last := len(program) - 1
	var rest []Operation
	for i, o := range program {
		if i == last || !o.Method.reads() {
			rest = append(rest, o)
		}
	}
	return rest
}
