package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"

	"shoal/internal/api"
	"shoal/internal/controlplane"
)

// addRotate puts `rotate` beside docker/cli's verbs on secrets, configs and networks.
func addRotate(root *cobra.Command, docker command.Cli) {
	for _, noun := range root.Commands() {
		if name := noun.Name(); name == "secret" || name == "config" {
			noun.AddCommand(rotateCommand(docker, name))
		} else if name == "network" {
			noun.AddCommand(rotateKeysCommand(docker))
		}
	}
}

func rotateCommand(docker command.Cli, noun string) *cobra.Command {
	upper := strings.ToUpper(noun)
	return &cobra.Command{
		Use:   "rotate " + upper + " [file|-]",
		Short: "Give a " + noun + " new content from a file or STDIN; services that use it roll to it",
		Long: "Give a " + noun + " new content from a file or STDIN. In one step the new content takes over the name and the\n" +
			"services that use it are updated to it, each by its own update policy; 'service rollback' leads back. The\n" +
			"content before is kept as NAME.vN until no service and no running task needs it.",
		Args:                  cli.RequiresRangeArgs(1, 2),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := content(docker, args[1:])
			if err != nil {
				return err
			}
			done, err := rotate(cmd.Context(), docker, noun, args[0], data)
			if err != nil {
				return err
			}
			if len(done.Services) > 0 {
				fmt.Fprintf(docker.Err(), "%s is generation %d; rolling to it: %s\n", args[0], done.Generation, strings.Join(done.Services, ", "))
			}
			fmt.Fprintln(docker.Out(), done.ID)
			return nil
		},
	}
}

func rotateKeysCommand(docker command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate NETWORK",
		Short: "Have the nodes of an encrypted network make new keys and move to them",
		Long: "Have the nodes of an encrypted network make new keys and move to them. Both generations of keys are good meanwhile,\n" +
			"so no packet is lost; it takes about a quarter of a minute. 'network inspect' shows how far it is (shoal.keys).\n" +
			"Keys change by themselves every twelve hours, or as --opt shoal.rotate=6h said when the network was made.",
		Args:                  cli.ExactArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			var done controlplane.KeyRotation
			if err := postShoal(cmd.Context(), docker, "/shoal/networks/"+url.PathEscape(args[0])+"/rotate", nil, &done); err != nil {
				return err
			}
			fmt.Fprintf(docker.Out(), "generation %d\n", done.Generation)
			return nil
		},
	}
}

// content reads the file that args name; standard input for "-" or none.
func content(docker command.Cli, args []string) ([]byte, error) {
	if len(args) == 1 && args[0] != "-" {
		return os.ReadFile(args[0])
	}
	if len(args) == 0 && docker.In().IsTerminal() {
		return nil, errors.New("the new content is missing: name a file, or - to type it")
	}
	return io.ReadAll(docker.In())
}

// rotate calls Shoal's own route.
func rotate(ctx context.Context, docker command.Cli, noun, ref string, data []byte) (controlplane.Rotation, error) {
	var done controlplane.Rotation
	body, err := json.Marshal(api.RotateRequest{Data: data})
	if err != nil {
		return done, err
	}
	return done, postShoal(ctx, docker, "/shoal/"+noun+"s/"+url.PathEscape(ref)+"/rotate", body, &done)
}

// postShoal sends a body to one of Shoal's own routes and decodes the answer, over whatever connection docker/cli has to
// the daemon.
func postShoal(ctx context.Context, docker command.Cli, path string, body []byte, answer any) error {
	dial := docker.Client().Dialer()
	h := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://shoal"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return daemonError(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	return nil
}

// daemonError is the refusal in a response, worded as docker/cli words it.
func daemonError(resp *http.Response) error {
	var refusal struct{ Message string }
	if err := json.NewDecoder(resp.Body).Decode(&refusal); err != nil || refusal.Message == "" {
		return fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return fmt.Errorf("Error response from daemon: %s", refusal.Message) // docker/cli's words
}
