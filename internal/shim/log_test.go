package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shim/wire"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func lines(t *testing.T, path string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		if d, err := wire.DecodeLine(l); err == nil {
			out = append(out, strings.TrimSpace(d.Log))
		}
	}
	return out
}

func TestRotation(t *testing.T) {
	for _, c := range []struct {
		keep  int
		files []string // of the newest first, the lines in each
	}{
		{1, []string{"8 9"}},
		{2, []string{"8 9", "4 5 6 7"}},
		{3, []string{"8 9", "4 5 6 7", "0 1 2 3"}},
		{9, []string{"8 9", "4 5 6 7", "0 1 2 3"}},
	} {
		path := filepath.Join(t.TempDir(), "log")
		size := int64(len(wire.AppendLine(nil, []byte("0\n"), "stdout", nil, now)))
		l := newLog(wire.Order{Log: path, MaxSize: 4 * size, MaxFiles: c.keep})
		for i := range 10 {
			l.write(fmt.Appendf(nil, "%d\n", i), "stdout", now)
		}
		l.close()
		for i, want := range c.files {
			name := path
			if i > 0 {
				name = fmt.Sprintf("%s.%d", path, i)
			}
			if got := strings.Join(lines(t, name), " "); got != want {
				t.Errorf("keep %d, file %d: %q, want %q", c.keep, i, got, want)
			}
		}
		if _, err := os.Stat(fmt.Sprintf("%s.%d", path, len(c.files))); err == nil {
			t.Errorf("keep %d: one file too many", c.keep)
		}
	}
}

// A log that cannot be written costs lines, counted, and nothing else; when there is room again it goes on.
func TestUnwritableLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "log")
	l := newLog(wire.Order{Log: path})
	l.write([]byte("a\n"), "stdout", now)
	l.write([]byte("b\n"), "stdout", now)
	if l.lost() != 2 {
		t.Fatalf("lost %d", l.lost())
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("c\n"), "stdout", now)
	l.close()
	if got := lines(t, path); len(got) != 1 || got[0] != "c" || l.lost() != 2 {
		t.Fatalf("%v, lost %d", got, l.lost())
	}
}

// The device that is always full: the first write opens, none succeeds.
func TestFullDisk(t *testing.T) {
	l := newLog(wire.Order{Log: "/dev/full"})
	for range 3 {
		l.write([]byte("x\n"), "stderr", now)
	}
	if l.lost() != 3 {
		t.Fatalf("lost %d", l.lost())
	}
}

// A predecessor that was cut off inside a line does not spoil the next.
func TestTornPredecessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"log":"cut o`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(wire.Order{Log: path})
	l.write([]byte("whole\n"), "stdout", now)
	l.close()
	if got := lines(t, path); len(got) != 1 || got[0] != "whole" {
		t.Fatal(got)
	}
}

func TestOOMKills(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"memory/one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"two/memory.events":             "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n",
		"calm/memory.events":            "oom_kill 0\n",
	} {
		p := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for group, want := range map[string]int{"/one": 2, "/two": 1, "/calm": 0, "/absent": 0, "": 0} {
		if got := oomKills(root, group); got != want {
			t.Errorf("%s: %d, want %d", group, got, want)
		}
	}
}
