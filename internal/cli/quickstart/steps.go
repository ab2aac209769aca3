package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

const service = "web"

func (s *Story) title(text string)           { fmt.Fprintf(s.Out, "\n== %s\n", text) }
func (s *Story) say(format string, a ...any) { fmt.Fprintf(s.Out, "   "+format+"\n", a...) }
func (s *Story) image() string               { return s.loopback(s.Registry) + "/" + service + ":v1" }

// show prints a command line as the reader would type it.
func (s *Story) show(args ...string) {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; strings.ContainsAny(a, " {}'$") {
			quoted[i] = "'" + a + "'"
		}
	}
	fmt.Fprintf(s.Out, "   $ shoal %s\n", strings.Join(quoted, " "))
}

// shoal shows and runs one command of the CLI.
func (s *Story) shoal(ctx context.Context, args ...string) error {
	s.show(args...)
	cmd := exec.CommandContext(ctx, s.Self, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.socket(), "DOCKER_CONTEXT=")
	if f, ok := s.Out.(*os.File); ok && isTerminal(f) {
		cmd.Stdout, cmd.Stderr = f, f // progress bars move
	} else {
		cmd.Stdout, cmd.Stderr = indent(s.Out), indent(s.Out)
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("shoal %s: %w", args[0], err)
	}
	return nil
}

func (s *Story) serveImage(ctx context.Context) error {
	s.title("A registry with a sample image, on loopback (with internet, any image of Docker Hub does as well)")
	args := []string{"sample", "registry", "--addr", s.loopback(s.Registry)}
	s.show(append(args, "&")...)
	if err := s.registry().start(append([]string{s.Self}, args...), false); err != nil {
		return err
	}
	return until(ctx, 20*time.Second, "the registry does not start: see "+s.registry().log, func() (bool, error) {
		return !free(s.loopback(s.Registry)), nil
	})
}

func (s *Story) daemonArgs() []string {
	args := []string{"daemon"}
	if s.Dir != "" {
		args = append(args, "--data-root", s.dataRoot(), "--exec-root", s.execRoot())
	}
	return append(args, "--pidfile", s.daemonPID(), "--insecure-registry", s.loopback(s.Registry))
}

func (s *Story) startDaemon(ctx context.Context) error {
	s.title("A daemon: it runs this machine's containers, and answers the Docker Engine API")
	return s.launch(ctx)
}

func (s *Story) launch(ctx context.Context) error {
	args := s.daemonArgs()
	s.show(append(args, "&")...)
	p := process{pidFile: s.daemonPID(), log: s.daemonLog()}
	if err := p.start(append([]string{s.Self}, args...), true); err != nil {
		return err
	}
	began := time.Now()
	err := until(ctx, 30*time.Second, "the daemon does not answer: see "+s.daemonLog(), func() (bool, error) {
		_, err := s.api.Ping(ctx, client.PingOptions{})
		return err == nil, nil
	})
	if err == nil {
		s.say("It answers after %v, at %s.", time.Since(began).Round(10*time.Millisecond), s.socket())
	}
	return err
}

func (s *Story) makeSwarm(ctx context.Context) error {
	s.title("A swarm, of one machine so far")
	return s.shoal(ctx, "swarm", "init", "--advertise-addr", ownAddress())
}

func (s *Story) createService(ctx context.Context) error {
	s.title("A service: three replicas of the sample web server, published on port " + fmt.Sprint(s.Port))
	err := s.shoal(ctx, "service", "create", "--name", service, "--replicas", "3", "--publish", fmt.Sprintf("%d:80", s.Port),
		"--env", "TASK={{.Task.Name}}", s.image())
	if err != nil {
		return err
	}
	return s.shoal(ctx, "service", "ps", service)
}

// askAround asks the published port until every replica has answered.
func (s *Story) askAround(ctx context.Context) error {
	s.title("It answers, each replica in its turn")
	s.say("$ curl http://%s", s.loopback(s.Port))
	return s.hear(ctx, 3)
}

// hear prints one answer each of as many different hosts as are wanted.
func (s *Story) hear(ctx context.Context, want int) error {
	var heard []string
	return until(ctx, 30*time.Second, fmt.Sprintf("port %d: not all %d replicas answer", s.Port, want), func() (bool, error) {
		answer := get(ctx, "http://"+s.loopback(s.Port)+"/")
		if host := field(answer, "host"); host != "" && !slices.Contains(heard, host) {
			heard = append(heard, host)
			s.say("%s", strings.TrimSpace(answer))
		}
		return len(heard) >= want, nil
	})
}

func (s *Story) scaleUp(ctx context.Context) error {
	s.title("Scaling: you say how many, Shoal makes it so")
	if err := s.shoal(ctx, "service", "scale", service+"=5"); err != nil {
		return err
	}
	return s.hear(ctx, 5)
}

func (s *Story) killContainer(ctx context.Context) error {
	s.title("Healing: one container dies, and is replaced")
	before, err := s.settled(ctx)
	if err != nil {
		return err
	}
	victim := before[0]
	if err := s.shoal(ctx, "kill", victim[:12]); err != nil {
		return err
	}
	began := time.Now()
	err = until(ctx, 30*time.Second, "the container is not replaced", func() (bool, error) {
		now, err := s.running(ctx)
		return len(now) == 5 && !slices.Contains(now, victim), err
	})
	if err != nil {
		return err
	}
	s.say("Replaced after %v. The service's history shows it:", time.Since(began).Round(10*time.Millisecond))
	return s.shoal(ctx, "service", "ps", service)
}

func (s *Story) crashDaemon(ctx context.Context) error {
	s.title("The daemon crashes (kill -9), and nothing is lost")
	before, err := s.settled(ctx)
	if err != nil {
		return err
	}
	p := process{pidFile: s.daemonPID(), log: s.daemonLog()}
	if err := p.end(ctx, s.Self, syscall.SIGKILL); err != nil {
		return err
	}
	answer := get(ctx, "http://"+s.loopback(s.Port)+"/")
	if answer == "" {
		return errors.New("the service does not answer while the daemon is dead")
	}
	s.say("Without a daemon the service still answers: %s", strings.TrimSpace(answer))
	if err := s.launch(ctx); err != nil {
		return err
	}
	var after []string
	err = until(ctx, 30*time.Second, "the service is not as it was", func() (bool, error) {
		after, err = s.running(ctx)
		return err == nil && len(after) == 5, nil
	})
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("containers have changed: %v before, %v after", before, after)
	}
	s.say("The same five containers run, under the new daemon:")
	return s.shoal(ctx, "service", "ls")
}

func (s *Story) farewell(took time.Duration) {
	s.title(fmt.Sprintf("Done, in %v. How to go on", took.Round(time.Second)))
	host := ""
	if s.Dir != "" {
		host = "export DOCKER_HOST=unix://" + s.socket() + "\n   "
	}
	fmt.Fprintf(s.Out, `   %sshoal service ls                       (the docker CLI speaks to Shoal too: docker -H unix://%s service ls)
   shoal service logs %s
   shoal service update --image %s/%s:v2 %s
   shoal playground up                    a cluster of five machines on this one
   %s                  removes all of this again
   (%s is the binary)
`, host, s.socket(), service, s.loopback(s.Registry), service, service, s.removeLine(), s.Self)
}

func (s *Story) removeLine() string {
	if s.Dir == "" {
		return "make quickstart-clean"
	}
	return s.Self + " quickstart --remove --dir " + s.Dir
}

// settled returns the service's containers once all five run.
func (s *Story) settled(ctx context.Context) ([]string, error) {
	var list []string
	err := until(ctx, 30*time.Second, "not all five replicas run", func() (_ bool, err error) {
		list, err = s.running(ctx)
		return len(list) == 5, err
	})
	return list, err
}

// running returns the containers of the service's running tasks, sorted.
func (s *Story) running(ctx context.Context) ([]string, error) {
	list, err := s.api.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", service).Add("desired-state", "running")})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range list.Items {
		if t.Status.State == swarm.TaskStateRunning && t.Status.ContainerStatus != nil {
			out = append(out, t.Status.ContainerStatus.ContainerID)
		}
	}
	slices.Sort(out)
	return out, nil
}

// get returns a page over a connection of its own, so that every request is balanced anew; "" if there is no good answer.
func get(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
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
