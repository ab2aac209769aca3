package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/google/go-cmp/cmp"
)

func TestTreeHoldsDockersWordsAndOurs(t *testing.T) {
	docker, err := command.NewDockerCli(command.WithCombinedStreams(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := dockerTree(docker)
	for _, path := range [][]string{
		{"service", "create"},
		{"swarm", "join-token"},
		{"node", "promote"},
		{"stack", "deploy"},
		{"run"},
		{"version"},
		{"daemon"},
		{"playground", "up"},
		{"quickstart"},
		{"backup"},
		{"restore"},
		{"recover"},
		{"sample", "registry"},
	} {
		c, rest, err := root.Find(path)
		if err != nil || len(rest) != 0 || c.Name() != path[len(path)-1] {
			t.Errorf("%v: found %s, rest %v, error %v", path, c.Name(), rest, err)
		}
	}
}

func TestGlobalFlagsEndAtTheFirstWord(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"-H", "unix:///x", "service", "ls", "-q"}, []string{"service", "ls", "-q"}},
		{[]string{"run", "-H", "name"}, []string{"run", "-H", "name"}},
		{[]string{"--version"}, []string{"--version"}},
		{nil, []string{}},
	} {
		docker, err := command.NewDockerCli(command.WithCombinedStreams(&bytes.Buffer{}))
		if err != nil {
			t.Fatal(err)
		}
		root, _ := dockerTree(docker)
		got, err := globalFlags(root, c.in)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v: %s", c.in, d)
		}
	}
}

func TestHost(t *testing.T) {
	for _, c := range []struct{ name, env, flag, want string }{
		{"nothing said", "", "", DefaultHost},
		{"environment", "unix:///from/env", "", "unix:///from/env"},
		{"flag before environment", "unix:///from/env", "unix:///from/flag", "unix:///from/flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", c.env)
			t.Setenv("DOCKER_CONTEXT", "")
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			docker, err := command.NewDockerCli(command.WithCombinedStreams(&bytes.Buffer{}))
			if err != nil {
				t.Fatal(err)
			}
			root, opts := dockerTree(docker)
			var args []string
			if c.flag != "" {
				args = []string{"-H", c.flag}
			}
			if _, err := globalFlags(root, args); err != nil {
				t.Fatal(err)
			}
			if err := connect(docker, opts, root.Flags()); err != nil {
				t.Fatal(err)
			}
			if got := docker.Client().DaemonHost(); got != c.want {
				t.Errorf("host %s, want %s", got, c.want)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
		says string
	}{
		{nil, 0, ""},
		{exit(7), 7, ""},
		{errors.New("broken"), 1, "broken\n"},
		{cli.StatusError{Status: "usage", StatusCode: 125}, 125, "usage\n"},
		{fmt.Errorf("stopped: %w", context.Canceled), 130, ""},
	} {
		var out bytes.Buffer
		if got := dockerStatus(&out, c.err); got != c.want || out.String() != c.says {
			t.Errorf("%v: status %d and %q, want %d and %q", c.err, got, out.String(), c.want, c.says)
		}
	}
}
