package quickstart

import (
	"bytes"
	"io"
	"regexp"
)

// progress are the lines that docker/cli repeats while it waits for a service, when it writes to no terminal.
var progress = regexp.MustCompile(`^(overall progress:|verify: Waiting|\d+/\d+:)`)

// indented sets a command's output in from the margin and leaves repeated progress out. It is used by one goroutine at a time.
type indented struct {
	to   io.Writer
	line []byte // what has come of a line whose end has not
}

func indent(to io.Writer) io.Writer { return &indented{to: to} }

// Write writes every full line of b with five blanks before it.
func (i *indented) Write(b []byte) (int, error) {
	for part := range bytes.Lines(b) {
		i.line = append(i.line, part...)
		if !bytes.HasSuffix(part, []byte{'\n'}) {
			break
		}
		if !progress.Match(i.line) {
			if _, err := i.to.Write(append([]byte("     "), i.line...)); err != nil {
				return 0, err
			}
		}
		i.line = i.line[:0]
	}
	return len(b), nil
}
