package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"shoal/internal/shim/wire"
)

// log writes one container's log file and rotates it.
type log struct {
	path  string
	max   int64 // bytes; 0: no rotation
	keep  int   // files, the present one counted
	attrs json.RawMessage

	mu      sync.Mutex
	f       *os.File
	size    int64
	buf     []byte
	torn    bool   // the last write ended inside a line
	dropped uint64 // lines that could not be written
}

func newLog(o wire.Order) *log {
	return &log{path: o.Log, max: o.MaxSize, keep: max(1, o.MaxFiles), attrs: o.Attrs}
}

// write adds one entry. It never fails: what the disk does not take is counted.
func (l *log) write(text []byte, stream string, now time.Time) {
	if l.path == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = wire.AppendLine(l.buf[:0], text, stream, l.attrs, now)
	if l.f != nil && l.max > 0 && l.size+int64(len(l.buf)) > l.max && l.size > 0 {
		l.rotate()
	}
	if l.f == nil && !l.open() {
		l.dropped++
		return
	}
	if l.torn { // end the broken line, so that the reader finds the next
		if n, err := l.f.Write([]byte{'\n'}); err != nil {
			l.size += int64(n)
			l.dropped++
			return
		}
		l.size++
		l.torn = false
	}
	n, err := l.f.Write(l.buf)
	l.size += int64(n)
	if err != nil {
		l.torn = n > 0
		l.dropped++
	}
}

func (l *log) open() bool {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return false
	}
	l.f, l.size = f, info.Size()
	if l.size > 0 { // a predecessor may have been cut off inside a line
		last := make([]byte, 1)
		if r, err := os.Open(l.path); err == nil {
			if _, err := r.ReadAt(last, l.size-1); err == nil {
				l.torn = last[0] != '\n'
			}
			r.Close()
		}
	}
	return true
}

// rotate moves path to path.1, path.1 to path.2 and so on; the file that would be one too many is overwritten. With
// one file to keep, the present one starts anew.
func (l *log) rotate() {
	l.f.Close()
	l.f, l.torn = nil, false
	if l.keep == 1 {
		os.Remove(l.path) // not truncated: a reader that has it open reads to its end
		return
	}
	for i := l.keep - 1; i > 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", l.path, i-1), fmt.Sprintf("%s.%d", l.path, i)) // not there before the log is old
	}
	_ = os.Rename(l.path, l.path+".1") // if it stays, its end is written over: the limit on size holds
}

func (l *log) lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

func (l *log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
