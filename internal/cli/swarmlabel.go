package cli

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/opts"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// addSwarmLabels gives `swarm update` the flags for labels that docker/cli's updates of everything else have.
func addSwarmLabels(root *cobra.Command, docker command.Cli) {
	update, _, err := root.Find([]string{"swarm", "update"})
	if err != nil {
		return // a tree without it has nothing to add to
	}
	add, remove := opts.NewListOpts(opts.ValidateLabel), opts.NewListOpts(nil)
	update.Flags().Var(&add, "label-add", `Add or update a swarm label ("key=value")`)
	update.Flags().Var(&remove, "label-rm", "Remove a swarm label if it exists")
	others := update.RunE
	update.RunE = func(cmd *cobra.Command, args []string) error {
		ours := 0
		for _, name := range []string{"label-add", "label-rm"} {
			if cmd.Flags().Changed(name) {
				ours++
			}
		}
		if ours > 0 {
			if err := labelSwarm(cmd.Context(), docker, add.GetSlice(), remove.GetSlice()); err != nil {
				return err
			}
		}
		if cmd.Flags().NFlag() > ours {
			return others(cmd, args)
		}
		fmt.Fprintln(docker.Out(), "Swarm updated.")
		return nil
	}
}

func labelSwarm(ctx context.Context, docker command.Cli, add, remove []string) error {
	have, err := docker.Client().SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	spec := have.Swarm.Spec
	spec.Labels = relabel(spec.Labels, add, remove)
	_, err = docker.Client().SwarmUpdate(ctx, client.SwarmUpdateOptions{Version: have.Swarm.Version, Spec: spec})
	return err
}

// relabel is have without remove and with add, which has the last word.
func relabel(have map[string]string, add, remove []string) map[string]string {
	labels := maps.Clone(have)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, key := range remove {
		delete(labels, key)
	}
	for _, label := range add {
		key, value, _ := strings.Cut(label, "=")
		labels[key] = value
	}
	return labels
}
