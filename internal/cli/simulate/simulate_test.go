package simulate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"shoal/internal/cli/simulate"
)

// TestMain lets this program play the children's roles, as the binary does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == simulate.Word {
		if err := command(os.Args[1:]).Execute(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command(args []string) *cobra.Command {
	root := &cobra.Command{Use: "shoal", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(simulate.Command())
	root.SetArgs(args)
	return root
}

// A small swarm of real managers: its tasks run, are updated, and go on when the leader is killed; nothing is left of it.
func TestSmallSwarm(t *testing.T) {
	dir := t.TempDir()
	var out, said bytes.Buffer
	root := command([]string{
		simulate.Word, "--managers", "3", "--agents", "20", "--tasks", "500", "--services", "5",
		"--update", "--kill-leader", "--json", "--dir", dir,
	})
	root.SetOut(&out)
	root.SetErr(&said)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	var got map[string]float64
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	for _, figure := range []string{"tasks_per_second", "service_ls_p99_ms", "node_ls_p99_ms", "manager_rss_mb", "failover_ms", "update_seconds"} {
		if got[figure] <= 0 {
			t.Errorf("%s is %v", figure, got[figure])
		}
	}
	nothingLeft(t, dir)
}

// What cannot be simulated is refused before anything is started.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--managers 0", "at least one manager"},
		{"--tasks 2 --services 3", "3 services cannot share 2 tasks"},
		{"--managers 2 --kill-leader", "needs three managers"},
		{"--agents 5000", "at most 4095 nodes"},
	} {
		root := command(append([]string{simulate.Word}, strings.Fields(tt.args)...))
		root.SetOut(new(bytes.Buffer))
		root.SetErr(new(bytes.Buffer))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// An interrupt leaves nothing behind either.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	root := command([]string{simulate.Word, "--managers", "1", "--agents", "5", "--tasks", "50", "--dir", dir})
	root.SetOut(new(bytes.Buffer))
	root.SetErr(onWrite(cancel)) // the first that is said: there is a swarm
	if err := root.ExecuteContext(ctx); err == nil {
		t.Error("no error, although it was interrupted")
	}
	nothingLeft(t, dir)
}

type onWrite func()

func (f onWrite) Write(b []byte) (int, error) { f(); return len(b), nil }

// nothingLeft says whether a file below dir or a process that names it is left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left in %s: %v", len(left), dir, err)
	}
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range children {
		if b, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(b)) > 0 {
			t.Errorf("processes %s are left", b)
		}
	}
}
