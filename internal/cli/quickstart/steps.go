package quickstart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"shoal/internal/cli/playground"
)

const (
	service = "web"
	first   = 6 // replicas at first
	more    = 8 // and after scaling
)

// patience is how long a step waits for what it wants to see. A busy machine may need more than an idle one by far.
const patience = 60 * time.Second

func (s *Story) makeCluster(ctx context.Context) error {
	s.title(fmt.Sprintf("A cluster on this machine: %d managers and %d workers", managers, workers))
	s.say("Each of the five has a network, a disk and an address of its own, runs one shoal daemon, and can lose its power.")
	if err := s.playground(ctx, "up", "--managers", fmt.Sprint(managers), "--workers", fmt.Sprint(workers), "--quiet"); err != nil {
		return err
	}
	// From here on Remove knows whose playground it is.
	args := []string{s.Self, "playground", "--dir", s.Dir, "forward", fmt.Sprint(s.Port)}
	if err := s.forwarder().start(args); err != nil {
		return err
	}
	p, err := playground.Open(s.Dir)
	if err != nil {
		return err
	}
	s.play = p
	if err := s.speakTo(p.Machines()[0]); err != nil {
		return err
	}
	return s.shoal(ctx, "node", "ls")
}

func (s *Story) createService(ctx context.Context) error {
	s.title(fmt.Sprintf("A service: %d replicas of a sample web server, published on port %d", first, s.Port))
	s.say("(The playground serves the image itself. With internet, any image of Docker Hub does as well.)")
	// The name that a replica answers with tells its place.
	err := s.shoal(ctx, "service", "create", "--detach", "--name", service, "--replicas", fmt.Sprint(first), "--publish", fmt.Sprintf("%d:80", s.Port),
		"--hostname", "{{.Service.Name}}.{{.Task.Slot}}.{{.Node.Hostname}}", s.play.Registry()+"/"+service+":v1")
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.settled(ctx, first); err != nil {
		return err
	}
	s.say("All %d run after %s, spread over the machines:", first, seconds(began))
	return s.shoal(ctx, "service", "ps", "--format", "table {{.Name}}\t{{.Node}}\t{{.CurrentState}}", service)
}

// askAround asks every machine from outside, and then this machine's own port.
func (s *Story) askAround(ctx context.Context) error {
	s.title("Every machine answers on that port, whichever the replicas run on")
	for _, m := range s.play.Machines() {
		url := fmt.Sprintf("http://%s:%d", m.Address, s.Port)
		answer, err := s.hear(ctx, func() string { return s.fromOutside(ctx, m, s.Port) }, url)
		if err != nil {
			return err
		}
		s.say("%s at %s answers by the replica  %s", m.Name, url, answer)
	}
	url := "http://" + s.address()
	if _, err := s.hear(ctx, func() string { return get(ctx, url, nil) }, url); err != nil {
		return err
	}
	s.say("From this machine it is %s, for your browser too:", url)
	fmt.Fprintf(s.Out, "   $ shoal playground%s forward %d &\n", s.dirFlag(), s.Port)
	return nil
}

func (s *Story) hear(ctx context.Context, ask func() string, url string) (host string, err error) {
	err = until(ctx, patience, url+" does not answer", func() (bool, error) {
		host = field(ask(), "host")
		return host != "", nil
	})
	return host, err
}

func (s *Story) scaleUp(ctx context.Context) error {
	s.title(fmt.Sprintf("Scaling: you say %d, Shoal makes it so", more))
	if err := s.shoal(ctx, "service", "scale", "--detach", fmt.Sprintf("%s=%d", service, more)); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.settled(ctx, more); err != nil {
		return err
	}
	s.say("%d run after %s.", more, seconds(began))
	return nil
}

// killContainer ends one container's process on the last worker, as a crash would.
func (s *Story) killContainer(ctx context.Context) error {
	s.title("A container dies, and is replaced")
	before, err := s.settled(ctx, more)
	if err != nil {
		return err
	}
	victim := before[0]
	m, err := s.machine(victim.node)
	if err != nil {
		return err
	}
	if err := s.playground(ctx, "exec", m.Name, "shoal", "kill", victim.container[:12]); err != nil {
		return err
	}
	began := time.Now()
	err = until(ctx, patience, "the container is not replaced", func() (bool, error) {
		now, err := s.running(ctx)
		return err == nil && len(now) == more && !slices.ContainsFunc(now, func(r replica) bool { return r.container == victim.container }), nil
	})
	if err != nil {
		return err
	}
	s.say("%s ran in it. After %s %d run again (5 s of that are the service's restart delay). Its history shows both:", victim.name, seconds(began), more)
	return s.shoal(ctx, "service", "ps", "--format", "table {{.Name}}\t{{.Node}}\t{{.CurrentState}}\t{{.Error}}", "--filter", "name="+victim.name, service)
}

func (s *Story) farewell(took time.Duration) {
	s.title(fmt.Sprintf("Done, in %v. The cluster stays, and is yours to break", took.Round(time.Second)))
	line := func(command, what string) { fmt.Fprintf(s.Out, "   %-56s %s\n", command, what) }
	line("export DOCKER_HOST=unix://"+s.at.Socket(), "then shoal, or an unmodified docker CLI:")
	line("shoal service ls", "")
	line("shoal service logs "+service, "")
	line(fmt.Sprintf("shoal service update --image %s/%s:v2 %s", s.play.Registry(), service, service), "a rolling update")
	line("shoal playground"+s.dirFlag()+" kill 5", "a power cut; start 5 ends it")
	line("shoal playground"+s.dirFlag()+" --help", "other ways to break it: crash, partition, pause")
	line(s.removeLine(), "removes all of it, without a trace")
	s.say("(shoal is %s)", s.Self)
}

func (s *Story) removeLine() string {
	if s.Dir == s.DefaultDir {
		return "make quickstart-clean"
	}
	return s.Self + " quickstart --remove --dir " + s.Dir
}

// dirFlag is what playground's words need to find a folder that is not the usual one.
func (s *Story) dirFlag() string {
	if s.Dir == s.DefaultDir {
		return ""
	}
	return " --dir " + s.Dir
}

// seconds is the time since began as a person says it.
func seconds(began time.Time) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", time.Since(began).Seconds()), ".0") + " s"
}
