package quickstart

import (
	"bytes"
	"fmt"
	"net"
	"os"
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

func TestTakenPortIsExplained(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the quickstart refuses to run without root: so does this test")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Config{Dir: t.TempDir()[:5] + "qs-none", Port: l.Addr().(*net.TCPAddr).Port, Out: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.preflight(); err == nil || !strings.Contains(err.Error(), "--port") {
		t.Errorf("error %v, want one that names --port", err)
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
