package quickstart

import (
	"bytes"
	"io"
)

// indented sets a command's output in from the margin. It is asked by one goroutine at a time.
type indented struct {
	to    io.Writer
	fresh bool // at the start of a line
}

func indent(to io.Writer) io.Writer { return &indented{to: to, fresh: true} }

// Write writes b with five blanks before every line.
func (i *indented) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if i.fresh {
			if _, err := io.WriteString(i.to, "     "); err != nil {
				return 0, err
			}
		}
		if _, err := i.to.Write(line); err != nil {
			return 0, err
		}
		i.fresh = line[len(line)-1] == '\n'
	}
	return len(b), nil
}
