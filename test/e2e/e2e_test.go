package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"shoal/internal/cli/playground"
	"shoal/internal/sample"
	"shoal/test/e2e/images"
	"shoal/test/e2e/load"
)

var bin = flag.String("bin", "../../bin", "folder of the binaries under test")

// rig is what all stories share.
type rig struct {
	shoal    string
	registry *sample.Registry
}

func TestStories(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("these tests boot machines in namespaces: run them as root")
	}
	dir, err := filepath.Abs(*bin)
	if err != nil {
		t.Fatal(err)
	}
	r := rig{shoal: filepath.Join(dir, "shoal"), registry: sample.NewRegistry()}
	if _, err := os.Stat(r.shoal); err != nil {
		t.Fatalf("build it first (make build): %v", err)
	}
	if err := images.Fill(t.Context(), r.registry, buildToolbox(t)); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: r.setup, Cmds: words, RequireUniqueNames: true})
}

func buildToolbox(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "toolbox")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./toolbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("toolbox: %v\n%s", err, b)
	}
	return out
}

// story is one running script: its playground and what it remembers.
type story struct {
	*playground.Playground
	ctx  context.Context
	kept map[string][]string
	load *load.Load
	flow []*flow
	tap  *tap
}

type storyKey struct{}

// setup gives a story a playground with nothing but the switch, the client and the registry in it.
func (r rig) setup(env *testscript.Env) error {
	// Sockets lie in there: their paths must be short, and testscript's work folder is not.
	dir, err := os.MkdirTemp("/tmp", "e2e")
	if err != nil {
		return err
	}
	p, err := playground.New(playground.Config{Dir: dir, Shoal: r.shoal, Tied: true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	env.Defer(func() {
		cancel()
		report(env, p)
		if err := p.Remove(); err != nil {
			env.T().Log(fmt.Sprintf("cleaning up: %v", err))
		}
	})
	l, err := p.Switch().Listen(ctx, "tcp", p.Registry())
	if err != nil {
		return err
	}
	go r.registry.Serve(ctx, l) // it ends with the story
	env.Values[storyKey{}] = &story{Playground: p, ctx: ctx, kept: map[string][]string{}}
	env.Setenv("REGISTRY", p.Registry())
	env.Setenv("DOCKER_CLI_HINTS", "false")
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("SHOAL", r.shoal)
	env.Setenv("MACHINES", dir)
	return nil
}

// report shows the end of every daemon's log when the story has failed.
func report(env *testscript.Env, p *playground.Playground) {
	t, ok := env.T().(interface{ Failed() bool })
	if !ok || !t.Failed() {
		return
	}
	for _, m := range p.Machines() {
		b, err := os.ReadFile(m.Log())
		if err != nil {
			continue
		}
		env.T().Log(fmt.Sprintf("end of %s's daemon log:\n%s", m.Name, b[max(0, len(b)-3000):]))
	}
}
