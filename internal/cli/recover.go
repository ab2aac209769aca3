package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"shoal/internal/api"
	"shoal/internal/daemon"
	"shoal/internal/raftstore"
)

// recovery is what `shoal recover` was asked.
type recovery struct {
	disks     []string
	advertise string
	yes       bool
	look      func(dataRoot string) (daemon.Disk, error)
}

func recoverCommand(docker command.Cli) *cobra.Command {
	r := recovery{look: daemon.LookAt}
	c := &cobra.Command{
		Use:   "recover [OPTIONS]",
		Short: "Make this manager the only one of a swarm that has lost its quorum for good",
		Long: "Look at what is left of a swarm that has lost its quorum, and, when told so, make this manager its only one, with all\n" +
			"that it knows; tasks run on. It refuses while the swarm has a leader, or could have one. With --disk it compares\n" +
			"the data roots of other managers, which must be stopped and may be copies: only the newest has all that was\n" +
			"acknowledged, so recover there.",
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.run(cmd.Context(), docker)
		},
	}
	c.Flags().StringArrayVar(&r.disks, "disk", nil, "Data root of another manager that is stopped (repeatable)")
	c.Flags().StringVar(&r.advertise, "advertise-addr", "", `Advertised address from now on (format: "<ip|interface>[:port]")`)
	c.Flags().BoolVarP(&r.yes, "yes", "y", false, "Do not ask for confirmation")
	return c
}

func (r *recovery) run(ctx context.Context, docker command.Cli) error {
	s, err := survey(ctx, docker)
	if err != nil {
		return err
	}
	tellSurvey(docker.Out(), s)
	if err := refuse(s); err != nil {
		return err
	}
	if err := r.compareDisks(docker.Out(), s); err != nil {
		return err
	}
	lost := others(s)
	fmt.Fprintf(docker.Out(), "\nThis manager will be the only one. What only lost managers have is lost with them. They must never come back with what they had:\n%s\n",
		strings.Join(lost, ", "))
	if !r.yes {
		if ok, err := confirm(docker, "Go on? [y/N] "); err != nil || !ok {
			return errors.Join(err, errors.New("nothing was changed"))
		}
	}
	if _, err := docker.Client().SwarmInit(ctx, client.SwarmInitOptions{ForceNewCluster: true, AdvertiseAddr: r.advertise}); err != nil {
		return err
	}
	fmt.Fprintln(docker.Out(), "The swarm goes on with this manager alone; tasks run on. Next:")
	tellLost(docker.Out(), lost)
	fmt.Fprintln(docker.Out(), "More managers: 'shoal swarm join-token manager' shows how they join.")
	return nil
}

func survey(ctx context.Context, docker command.Cli) (s api.Survey, err error) {
	resp, err := ask(ctx, docker, http.MethodGet, "/shoal/recovery", nil)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

func tellSurvey(to io.Writer, s api.Survey) {
	fmt.Fprintf(to, "Swarm %s, as this manager has it: %d services, %d running tasks; its log ends at entry %d of term %d.\n",
		s.ClusterID, s.Services, s.Running, s.LogIndex, s.LogTerm)
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, m := range s.Managers {
		state := "does not answer"
		switch {
		case m.ID == s.Leader:
			state = "leads"
		case m.Self:
			state = "this manager"
		case m.Answers:
			state = "answers"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", m.ID, m.Hostname, m.Addr, state)
	}
	_ = t.Flush() // to a terminal
	voters, answer, needed := s.Quorum()
	fmt.Fprintf(to, "Of %d managers %d answer; a quorum needs %d.\n", voters, answer, needed)
}

// refuse says why a swarm is not to be recovered.
func refuse(s api.Survey) error {
	voters, answer, needed := s.Quorum()
	switch {
	case voters == 1:
		return errors.New("this manager is the only one already: there is nothing to recover")
	case s.Leader != "":
		return errors.New("the swarm has a leader: there is nothing to recover")
	case answer >= needed:
		return errors.New("enough managers answer for a quorum: it comes back by itself, or their logs say why not. To give the others up all the same: shoal swarm init --force-new-cluster")
	}
	return nil
}

// others are the managers that are given up.
func others(s api.Survey) []string {
	var names []string
	for _, m := range s.Managers {
		if !m.Self {
			names = append(names, fmt.Sprintf("%s (%s)", m.Hostname, m.Addr))
		}
	}
	return names
}

// compareDisks refuses when one of the disks has more than this manager.
func (r *recovery) compareDisks(to io.Writer, s api.Survey) error {
	newest, own := "", raftstore.Tail{Index: s.LogIndex, Term: s.LogTerm}
	best := own
	for _, path := range r.disks {
		d, err := r.look(path)
		if err != nil {
			return fmt.Errorf("disk %s: %w", path, err)
		}
		if d.ClusterID != s.ClusterID {
			return fmt.Errorf("disk %s is of another swarm, %s", path, d.ClusterID)
		}
		order := "has what this manager has"
		switch c := d.Log.Compare(own); {
		case c < 0:
			order = "is older than this manager"
		case c > 0:
			order = "is newer than this manager"
		}
		fmt.Fprintf(to, "Disk %s is %s's (%s): its log ends at entry %d of term %d, which %s.\n", path, d.NodeID, d.Advertise, d.Log.Index, d.Log.Term, order)
		if d.Log.Compare(best) > 0 {
			newest, best = path, d.Log
		}
	}
	if newest != "" {
		return fmt.Errorf("the newest state is on %s: start its daemon and recover there, or leave --disk away to do without it", newest)
	}
	return nil
}

// confirm asks a question that only a y answers.
func confirm(docker command.Cli, question string) (bool, error) {
	fmt.Fprint(docker.Out(), question)
	line, err := bufio.NewReader(docker.In()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}
