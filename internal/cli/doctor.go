package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"

	"shoal/internal/network"
)

// addDoctor adds the word that examines a node.
func addDoctor(root *cobra.Command, docker command.Cli) {
	doctor := &cobra.Command{Use: "doctor", Short: "Examine a node and repair it", Args: cli.NoArgs, RunE: command.ShowHelp(docker.Err())}
	doctor.AddCommand(doctorNetwork(docker))
	root.AddCommand(doctor)
}

func doctorNetwork(docker command.Cli) *cobra.Command {
	var repair bool
	c := &cobra.Command{
		Use:   "network",
		Short: "Compare the kernel of the daemon's node with what it should hold",
		Long: "Compare the kernel of the daemon's node (links, addresses, routes, firewall tables, name servers) with what the\n" +
			"swarm's state and the containers ask for. Each difference is shown as the command that would set it right. The\n" +
			"exit status is 1 while something differs.",
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := auditNetwork(cmd.Context(), docker, repair)
			if err != nil {
				return err
			}
			if !tellAudit(docker.Out(), a) {
				return cli.StatusError{StatusCode: 1}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "Set right what differs")
	return c
}

// tellAudit tells of an audit and whether all is well.
func tellAudit(to io.Writer, a network.Audit) bool {
	for _, d := range a.Differences {
		fmt.Fprintln(to, d)
	}
	switch {
	case len(a.Differences) == 0:
		fmt.Fprintf(to, "healthy: %d network namespaces hold what they should\n", a.Namespaces)
	case !a.Repaired:
		fmt.Fprintf(to, "%d differences in %d network namespaces; --repair sets them right\n", len(a.Differences), a.Namespaces)
		return false
	case len(a.Left) > 0:
		fmt.Fprintf(to, "%d differences are left after the repair:\n", len(a.Left))
		for _, d := range a.Left {
			fmt.Fprintln(to, d)
		}
		return false
	default:
		fmt.Fprintf(to, "%d differences repaired\n", len(a.Differences))
	}
	return true
}

func auditNetwork(ctx context.Context, docker command.Cli, repair bool) (a network.Audit, err error) {
	method := http.MethodGet
	if repair {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://shoal/shoal/doctor/network", nil)
	if err != nil {
		return a, err
	}
	dial := docker.Client().Dialer()
	h := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	resp, err := h.Do(req)
	if err != nil {
		return a, fmt.Errorf("cannot reach the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, daemonError(resp)
	}
	return a, json.NewDecoder(resp.Body).Decode(&a)
}
