package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"pgregory.net/rapid"

	"shoal/internal/shim/wire"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// nthLine is line n of a log, n seconds after the epoch; odd ones are of stderr.
func nthLine(n int) []byte {
	return wire.AppendLine(nil, fmt.Appendf(nil, "%d\n", n), []string{"stdout", "stderr"}[n%2], nil, epoch.Add(time.Duration(n)*time.Second))
}

func writeLog(t interface{ Fatal(...any) }, path string, from, to int) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := from; n < to; n++ {
		if _, err := f.Write(nthLine(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func readLog(t interface{ Fatal(...any) }, path string, o LogOptions) (got []string) {
	r := &logReader{path: path, o: o, over: func() bool { return true }}
	if err := r.run(context.Background(), func(l wire.Line) bool { got = append(got, strings.TrimSpace(l.Log)); return true }); err != nil && !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	return got
}

func TestLogOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLog(t, path+".2", 0, 3)
	writeLog(t, path+".1", 3, 6)
	writeLog(t, path, 6, 8)
	all := LogOptions{Stdout: true, Stderr: true, Tail: -1}
	with := func(f func(*LogOptions)) LogOptions { o := all; f(&o); return o }
	for _, c := range []struct {
		name string
		o    LogOptions
		want string
	}{
		{"all", all, "0 1 2 3 4 5 6 7"},
		{"stdout", with(func(o *LogOptions) { o.Stderr = false }), "0 2 4 6"},
		{"tail in the present file", with(func(o *LogOptions) { o.Tail = 2 }), "6 7"},
		{"tail over files", with(func(o *LogOptions) { o.Tail = 4 }), "4 5 6 7"},
		{"a whole file and one more", with(func(o *LogOptions) { o.Tail = 6 }), "2 3 4 5 6 7"},
		{"more than there is", with(func(o *LogOptions) { o.Tail = 100 }), "0 1 2 3 4 5 6 7"},
		{"none", with(func(o *LogOptions) { o.Tail = 0 }), ""},
		{"since", with(func(o *LogOptions) { o.Since = epoch.Add(5 * time.Second) }), "5 6 7"},
		{"until", with(func(o *LogOptions) { o.Until = epoch.Add(2 * time.Second) }), "0 1 2"},
		{"followed to its end", with(func(o *LogOptions) { o.Follow = true; o.Tail = 3 }), "5 6 7"},
	} {
		if d := cmp.Diff(c.want, strings.Join(readLog(t, path, c.o), " ")); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	if got := readLog(t, path+"-absent", with(func(o *LogOptions) { o.Follow = true })); got != nil {
		t.Errorf("no log: %v", got)
	}
}

// A torn entry, as a full disk leaves it, costs itself alone.
func TestTornEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text := append(nthLine(0), nthLine(1)[:20]...)
	text = append(append(text, '\n'), nthLine(2)...)
	text = append(text, nthLine(3)[:10]...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, path, LogOptions{Stdout: true, Stderr: true, Tail: -1}); strings.Join(got, " ") != "0 2" {
		t.Fatal(got)
	}
}

// However a log is cut into files, the last n of it are the last n.
func TestTailProperty(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, fmt.Sprint(time.Now().UnixNano()))
		cuts := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 4).Draw(t, "files")
		next := 0
		for i, n := range cuts {
			name := path
			if left := len(cuts) - 1 - i; left > 0 {
				name = fmt.Sprintf("%s.%d", path, left)
			}
			writeLog(t, name, next, next+n)
			next += n
		}
		tail := rapid.IntRange(0, 1300).Draw(t, "tail")
		got := readLog(t, path, LogOptions{Stdout: true, Stderr: true, Tail: tail})
		if len(got) != min(tail, next) || len(got) > 0 && got[len(got)-1] != fmt.Sprint(next-1) {
			t.Fatalf("%d of %d: got %d", tail, next, len(got))
		}
	})
}

// A reader that follows sees each line once while the file grows and is rotated.
func TestFollowRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var over atomic.Bool
	r := &logReader{path: path, o: LogOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, over: over.Load}
	n, total := 0, 60
	writeLog(t, path, 0, 10)
	err := r.run(t.Context(), func(l wire.Line) bool {
		if strings.TrimSpace(l.Log) != fmt.Sprint(n) {
			t.Fatalf("line %q, want %d", l.Log, n)
		}
		if n++; n%10 == 0 && n < total { // all is read: rotate and write on
			os.Rename(path, path+".1")
			writeLog(t, path, n, n+10)
		}
		over.Store(n == total)
		return true
	})
	if err != nil || n != total {
		t.Fatalf("%d lines, %v", n, err)
	}
}

func TestFormatLine(t *testing.T) {
	l := wire.Line{Log: "x\n", Time: epoch, Attrs: map[string]string{"b": "2 3", "a": "1"}}
	if got := string(FormatLine(l, true, true)); got != "2026-01-01T00:00:00.000000000Z a=1,b=2+3 x\n" {
		t.Errorf("%q", got)
	}
	if got := string(FormatLine(l, false, false)); got != "x\n" {
		t.Errorf("%q", got)
	}
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nb"))
	f.Add(bytes.Repeat([]byte{'x'}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := newLineReader(bytes.NewReader(b))
		n := 0
		for {
			line, ok, err := in.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if n++; bytes.ContainsRune(line, '\n') || len(line) > maxEntry {
				t.Fatalf("line %q", line)
			}
		}
		if want := bytes.Count(b, []byte{'\n'}); len(b) < maxEntry && n != want {
			t.Fatalf("%d lines of %d in %q", n, want, b)
		}
	})
}

func TestLogOrder(t *testing.T) {
	c := &container.Config{Labels: map[string]string{"team": "blue", "x": "y"}, Env: []string{"REGION=eu"}}
	opts := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, k := range []struct {
		cfg  container.LogConfig
		want wire.Order
		err  string
	}{
		{container.LogConfig{}, wire.Order{Log: "/l"}, ""},
		{container.LogConfig{Type: "none"}, wire.Order{}, ""},
		{container.LogConfig{Type: "local"}, wire.Order{Log: "/l", MaxSize: 20 << 20, MaxFiles: 5}, ""},
		{
			container.LogConfig{Type: "json-file", Config: opts("max-size", "1m", "max-file", "3", "labels", "team,none", "env", "REGION")},
			wire.Order{Log: "/l", MaxSize: 1 << 20, MaxFiles: 3, Attrs: json.RawMessage(`{"REGION":"eu","team":"blue"}`)},
			"",
		},
		{container.LogConfig{Type: "syslog"}, wire.Order{}, "logger: no log driver named 'syslog' is registered"},
		{container.LogConfig{Type: "json-file", Config: opts("colour", "x")}, wire.Order{}, "unknown log opt 'colour' for json-file log driver"},
		{container.LogConfig{Type: "json-file", Config: opts("max-file", "0")}, wire.Order{}, "max-file cannot be less than 1"},
		{container.LogConfig{Type: "json-file", Config: opts("max-file", "2")}, wire.Order{}, "max-size must be set when max-file is set"},
	} {
		var o wire.Order
		err := logOrder(&o, k.cfg, c, "/l")
		if k.err != "" {
			if err == nil || err.Error() != k.err {
				t.Errorf("%+v: %v", k.cfg, err)
			}
			continue
		}
		if d := cmp.Diff(k.want, o); err != nil || d != "" {
			t.Errorf("%+v: %v %s", k.cfg, err, d)
		}
	}
}
