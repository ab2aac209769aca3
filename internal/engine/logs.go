package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/shim/wire"
)

// LogOptions say which lines of a log are wanted.
type LogOptions struct {
	Stdout, Stderr bool
	Follow         bool
	Since, Until   time.Time // zero: no bound
	Tail           int       // the last so many entries; negative: all
}

// followEvery is how often a followed log is looked at.
const followEvery = 50 * time.Millisecond

// maxEntry bounds an entry as it stands in the file: each byte of a piece may take six ("\u0000"), and the attributes
// come on top.
const maxEntry = 8*wire.MaxLine + 64<<10

// Logs yields a container's log, oldest first. Following ends when the container has ended and all has been read, when
// it is removed, when ctx ends, or when Until has passed. ErrNotImplemented in Docker's words: the driver keeps nothing.
func (e *Engine) Logs(ctx context.Context, ref string, o LogOptions) iter.Seq2[wire.Line, error] {
	return func(yield func(wire.Line, error) bool) {
		c, err := e.Find(ref)
		if err == nil && !o.Stdout && !o.Stderr {
			err = cluster.Errorf(errdefs.ErrInvalidArgument, "you must choose at least one stream")
		}
		if err == nil && c.Record().HostConfig.LogConfig.Type == driverNone {
			err = cluster.Errorf(errdefs.ErrNotImplemented, "configured logging driver does not support reading")
		}
		if err != nil {
			yield(wire.Line{}, err)
			return
		}
		r := &logReader{path: c.LogPath(), o: o, over: c.logOver}
		if err := r.run(ctx, func(l wire.Line) bool { return yield(l, nil) }); err != nil && !errors.Is(err, errStopped) {
			yield(wire.Line{}, err)
		}
	}
}

// logOver says whether nothing more will be written.
func (c *Container) logOver() bool {
	s := c.Record().State
	return c.gone() || !s.Running() && s.Status != "restarting"
}

// errStopped ends a reading that the reader does not want to go on.
var errStopped = errors.New("reading stopped")

// logReader reads a log through its rotations.
type logReader struct {
	path string
	o    LogOptions
	over func() bool // whether nothing more will be written
}

// run reads the files that are there, then follows if it is to.
func (r *logReader) run(ctx context.Context, yield func(wire.Line) bool) error {
	files, err := openLogs(r.path)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if r.o.Tail >= 0 {
		if files, err = seekTail(files, r.o.Tail); err != nil {
			return err
		}
	}
	for i, f := range files {
		last := i == len(files)-1
		if last && r.o.Follow {
			files[i] = nil // follow closes it
			files = files[:i]
			return r.follow(ctx, f, yield)
		}
		if _, err := r.drain(ctx, newLineReader(f), yield); err != nil {
			return err
		}
	}
	if r.o.Follow { // nothing was written yet
		return r.follow(ctx, nil, yield)
	}
	return nil
}

// drain yields what the file holds now.
func (r *logReader) drain(ctx context.Context, in *lineReader, yield func(wire.Line) bool) (n int, err error) {
	for {
		b, ok, err := in.next()
		if err != nil || !ok {
			return n, err
		}
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		l, err := wire.DecodeLine(b)
		if err != nil {
			continue // torn by a full disk: the next one is whole
		}
		switch {
		case l.Time.Before(r.o.Since):
			continue
		case !r.o.Until.IsZero() && l.Time.After(r.o.Until):
			return n, errStopped
		case l.Stream == "stdout" && !r.o.Stdout, l.Stream == "stderr" && !r.o.Stderr:
			continue
		}
		if !yield(l) {
			return n, errStopped
		}
	}
}

// follow reads on as the file grows, and goes to its successor when it has been rotated away. f may be nil: the log
// does not exist yet.
func (r *logReader) follow(ctx context.Context, f *os.File, yield func(wire.Line) bool) error {
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	var in *lineReader
	if f != nil {
		in = newLineReader(f)
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		over := r.over() // asked before reading: what is written before the end is read after this
		if in == nil {
			var err error
			if f, err = os.Open(r.path); err == nil {
				in = newLineReader(f)
			} else if !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("open log: %w", err)
			}
		}
		if in != nil {
			n, err := r.drain(ctx, in, yield)
			if err != nil {
				return err
			}
			if n == 0 && rotated(f, r.path) {
				// Read once more: the last entries may have come between the two looks.
				if _, err := r.drain(ctx, in, yield); err != nil {
					return err
				}
				f.Close()
				f, in = nil, nil
				continue
			}
			if n > 0 {
				continue
			}
		}
		if over || !r.o.Until.IsZero() && time.Now().After(r.o.Until) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rotated says whether path is another file by now.
func rotated(f *os.File, path string) bool {
	now, err := os.Stat(path)
	if err != nil {
		return false // being renamed, or removed with its container: the next look tells
	}
	have, err := f.Stat()
	return err == nil && !os.SameFile(now, have)
}

// openLogs opens path.N … path.1 and path, oldest first. A rotation meanwhile may move files up: what was opened once
// is not opened again.
func openLogs(path string) ([]*os.File, error) {
	var out []*os.File
	var seen []os.FileInfo
	for n := 0; ; n++ {
		name := path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", path, n)
		}
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			if n == 0 {
				continue // between a rotation and the next line
			}
			break
		}
		var info os.FileInfo
		if err == nil {
			info, err = f.Stat()
		}
		if err != nil {
			for _, f := range out {
				f.Close()
			}
			return nil, fmt.Errorf("open log: %w", err)
		}
		if slices.ContainsFunc(seen, func(i os.FileInfo) bool { return os.SameFile(i, info) }) {
			f.Close()
			continue
		}
		out, seen = append(out, f), append(seen, info)
	}
	slices.Reverse(out)
	return out, nil
}

// seekTail moves to the n-th last entry and returns the files from there on; the others are closed.
func seekTail(files []*os.File, n int) ([]*os.File, error) {
	for i, file := range slices.Backward(files) {
		lines, at, err := lastLines(file, n)
		if err != nil {
			return files, err
		}
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			return files, err
		}
		if n -= lines; n == 0 {
			for _, f := range files[:i] {
				f.Close()
			}
			return files[i:], nil
		}
	}
	return files, nil
}

// lastLines finds where the last n lines of a file begin, and how many there are. A line without an end counts.
func lastLines(f *os.File, n int) (lines int, at int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return 0, end, err
	}
	const block = 64 << 10
	buf := make([]byte, block)
	for at = end; at > 0; {
		size := min(int64(block), at)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return 0, 0, err
		}
		for i := int(size) - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+int64(i) == end-1 {
				continue
			}
			if lines++; lines == n {
				return lines, at + int64(i) + 1, nil
			}
		}
	}
	if end > 0 {
		lines++ // the first line has no newline before it
	}
	return lines, 0, nil
}

// lineReader gives whole lines; the beginning of one that is being written stays for later.
type lineReader struct {
	r    *bufio.Reader
	part []byte
	skip bool // inside a line that is too long to be an entry
}

func newLineReader(r io.Reader) *lineReader { return &lineReader{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next line without its newline; ok is false when none is whole yet.
func (l *lineReader) next() (line []byte, ok bool, err error) {
	for {
		b, err := l.r.ReadSlice('\n')
		if len(l.part)+len(b) > maxEntry {
			l.part, l.skip = l.part[:0], true
		}
		switch {
		case err == nil && l.skip:
			l.skip, l.part = false, l.part[:0]
		case err == nil:
			line := b
			if len(l.part) > 0 {
				line = append(l.part, b...)
				l.part = nil
			}
			return bytes.TrimRight(line, "\n"), true, nil
		case errors.Is(err, bufio.ErrBufferFull), errors.Is(err, io.EOF):
			if !l.skip {
				l.part = append(l.part, b...)
			}
			if errors.Is(err, io.EOF) {
				return nil, false, nil
			}
		default:
			return nil, false, fmt.Errorf("read log: %w", err)
		}
	}
}

// FormatLine renders an entry as `docker logs` shows it: the details (attributes) and the time before the text, if
// they are asked for.
func FormatLine(l wire.Line, timestamps, details bool) []byte {
	var b strings.Builder
	if timestamps {
		b.WriteString(l.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") + " ")
	}
	if details {
		keys := make([]string, 0, len(l.Attrs))
		for k := range l.Attrs {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(url.QueryEscape(k) + "=" + url.QueryEscape(l.Attrs[k]))
		}
		b.WriteByte(' ')
	}
	b.WriteString(l.Log)
	return []byte(b.String())
}
