package quickstart

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

func (s *Story) title(text string)           { fmt.Fprintf(s.Out, "\n== %s\n", text) }
func (s *Story) say(format string, a ...any) { fmt.Fprintf(s.Out, "   "+format+"\n", a...) }

// show prints a command line as the reader would type it.
func (s *Story) show(args ...string) {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; strings.ContainsAny(a, " {}'$\t") {
			quoted[i] = "'" + strings.ReplaceAll(a, "\t", `\t`) + "'"
		}
	}
	fmt.Fprintf(s.Out, "   $ shoal %s\n", strings.Join(quoted, " "))
}

// shoal shows and runs one command of the CLI against the daemon that is spoken to.
func (s *Story) shoal(ctx context.Context, args ...string) error {
	s.show(args...)
	return s.run(ctx, args...)
}

// playground shows and runs one of the playground's words.
func (s *Story) playground(ctx context.Context, args ...string) error {
	shown := append([]string{"playground"}, args...)
	if s.Dir != s.DefaultDir {
		shown = append([]string{"playground", "--dir", s.Dir}, args...)
	}
	s.show(shown...)
	return s.run(ctx, append([]string{"playground", "--dir", s.Dir}, args...)...)
}

func (s *Story) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.Self, args...)
	cmd.Env = append(os.Environ(), "DOCKER_CONTEXT=")
	if s.at != nil {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+s.at.Socket())
	}
	w := indent(s.Out)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("shoal %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// replica is a task that runs.
type replica struct{ name, node, container string }

// running returns the service's replicas that run and should, by name.
func (s *Story) running(ctx context.Context) ([]replica, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nodes, err := s.api.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, n := range nodes.Items {
		names[n.ID] = n.Description.Hostname
	}
	list, err := s.api.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", service).Add("desired-state", "running")})
	if err != nil {
		return nil, err
	}
	var out []replica
	for _, t := range list.Items {
		if t.Status.State == swarm.TaskStateRunning && t.Status.ContainerStatus != nil {
			out = append(out, replica{fmt.Sprintf("%s.%d", service, t.Slot), names[t.NodeID], t.Status.ContainerStatus.ContainerID})
		}
	}
	slices.SortFunc(out, func(a, b replica) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// settled returns the service's replicas once exactly want of them run.
func (s *Story) settled(ctx context.Context, want int) (list []replica, err error) {
	err = until(ctx, patience, fmt.Sprintf("not %d replicas run", want), func() (bool, error) {
		now, err := s.running(ctx)
		list = now
		return err == nil && len(now) == want, nil // an answer that does not come is asked for again
	})
	return list, err
}

// get returns a page over a connection of its own, so that every request is balanced anew; "" if there is no good answer.
func get(ctx context.Context, url string, dial func(context.Context, string, string) (net.Conn, error)) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DialContext: dial}).RoundTrip(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// field reads one value of a line of key=value pairs.
func field(line, key string) string {
	for f := range strings.FieldsSeq(line) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}
