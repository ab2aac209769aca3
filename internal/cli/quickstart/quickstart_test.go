package quickstart

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIndentLeavesProgressOut(t *testing.T) {
	var out bytes.Buffer
	w := indent(&out)
	for _, part := range []string{"abc\noverall progress: 0 out", " of 3 tasks\n1/3: running\nverify: Waiting 5 seconds\nverify: Service web converged\nrest"} {
		fmt.Fprint(w, part)
	}
	if d := cmp.Diff("     abc\n     verify: Service web converged\n", out.String()); d != "" {
		t.Error(d)
	}
}

// story is one that could begin: its programs are there, as empty files.
func story(t *testing.T) *Story {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the quickstart refuses to run without root: so does this test")
	}
	bin := t.TempDir()
	for _, program := range []string{"containerd", "containerd-shim-shoal-v1", "runc", "shoal-sample"} {
		if err := os.WriteFile(filepath.Join(bin, program), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	s, err := New(Config{Self: filepath.Join(bin, "shoal"), Dir: fmt.Sprintf("/tmp/qs-test-%d", port), Port: port, Out: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.Dir) })
	if err := s.preflight(); err != nil {
		t.Fatalf("a machine with all that is needed: %v", err)
	}
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestPreflight: what would stop the story half-way is told before anything is made, with the way out.
func TestPreflight(t *testing.T) {
	put := func(name string) func(*testing.T, *Story) {
		return func(t *testing.T, s *Story) {
			if err := errors.Join(os.MkdirAll(s.Dir, 0o700), os.WriteFile(filepath.Join(s.Dir, name), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, *Story)
		want  []string
	}{
		"taken port": {func(t *testing.T, s *Story) {
			l, err := net.Listen("tcp", s.address())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, []string{"is taken by another program", "--port"}},
		"no runc": {func(t *testing.T, s *Story) {
			if err := os.Remove(filepath.Join(filepath.Dir(s.Self), "runc")); err != nil {
				t.Fatal(err)
			}
		}, []string{"runc is missing", "make build"}},
		"earlier quickstart": {put("quickstart.pid"), []string{"earlier quickstart", "quickstart --remove --dir"}},
		"another playground": {put("playground.json"), []string{"holds a playground already", "playground --dir"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := story(t)
			c.spoil(t, s)
			err := s.preflight()
			for _, words := range c.want {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("error %v, want %q in it", err, words)
				}
			}
		})
	}
}

// TestRemoveLeavesOthersAlone: a playground that the quickstart did not make is not removed by it.
func TestRemoveLeavesOthersAlone(t *testing.T) {
	s := story(t)
	file := filepath.Join(s.Dir, "playground.json")
	if err := errors.Join(os.MkdirAll(s.Dir, 0o700), os.WriteFile(file, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		err := until(t.Context(), time.Second, "never", func() (bool, error) { asked++; return asked == 3, nil })
		if err != nil || asked != 3 {
			t.Errorf("asked %d times, error %v", asked, err)
		}
		err = until(t.Context(), time.Second, "it does not come", func() (bool, error) { return false, nil })
		if err == nil || !strings.Contains(err.Error(), "it does not come") {
			t.Errorf("error %v", err)
		}
	})
}

func TestField(t *testing.T) {
	if got := field("version=v1 host=abc task=web.1\n", "host"); got != "abc" {
		t.Errorf("got %q", got)
	}
}
