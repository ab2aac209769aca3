package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQuickstart runs what `make quickstart` and `make quickstart-clean` run, in another place, and looks for what is left.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("the quickstart makes namespaces: run this test as root")
	}
	dir, err := filepath.Abs(*bin)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	place := fmt.Sprintf("/tmp/qs%d", port)
	quickstart := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		args = append([]string{"quickstart", "--dir", place, "--port", fmt.Sprint(port)}, args...)
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "shoal"), args...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		quickstart("--remove")
		if _, err := os.Stat(place); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", place, err)
		}
		mounts, _ := os.ReadFile("/proc/mounts")
		if strings.Contains(string(mounts), place) {
			t.Errorf("mounts are left below %s", place)
		}
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range lines {
			if line, _ := os.ReadFile(f); bytes.Contains(line, []byte(place+"/")) {
				t.Errorf("a process is left: %q", line)
			}
		}
	})
	out := quickstart()
	for _, want := range []string{"is called Down", "all 8 run again", "leads: two of three managers", "the cluster stays", "quickstart --remove"} {
		if !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
