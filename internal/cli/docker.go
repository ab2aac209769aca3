package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/cli/cli/version"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"shoal/internal/cluster"
)

// runDocker runs a word of docker/cli's tree, or the help that shows both trees.
func runDocker(ctx context.Context, args []string) int {
	version.Version, version.GitCommit, version.PlatformName = cluster.Version, cluster.Version, "Shoal"
	docker, err := command.NewDockerCli(command.WithBaseContext(ctx), command.WithUserAgent("shoal/"+cluster.Version))
	if err != nil {
		return report(os.Stderr, err)
	}
	root, opts := dockerTree(docker)
	rest, err := globalFlags(root, args)
	if err == nil {
		err = connect(docker, opts, root.Flags())
	}
	if err == nil {
		root.SetArgs(rest)
		err = root.ExecuteContext(ctx)
	}
	return dockerStatus(docker.Err(), err)
}

// dockerTree is docker/cli's tree with our words beside it.
func dockerTree(docker *command.DockerCli) (*cobra.Command, *flags.ClientOptions) {
	root := &cobra.Command{
		Use:                   "shoal [OPTIONS] COMMAND [ARG...]",
		Short:                 "Containerised services on any set of Linux machines",
		Version:               cluster.Version,
		SilenceUsage:          true,
		SilenceErrors:         true,
		TraverseChildren:      true,
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.ShowHelp(docker.Err())(cmd, args)
			}
			return fmt.Errorf("shoal: unknown command: shoal %s\n\nRun 'shoal --help' for more information", args[0])
		},
	}
	root.SetIn(docker.In())
	root.SetOut(docker.Out())
	root.SetErr(docker.Err())
	opts, _ := cli.SetupRootCommand(root)
	root.SetVersionTemplate("Shoal version {{.Version}}\n")
	root.Annotations["additionalHelp"] = "Start with 'shoal quickstart', or 'shoal playground up' for a cluster of many nodes on this machine."
	root.Flags().BoolP("version", "v", false, "Print version information and quit")
	commands.AddCommands(root, docker)
	addRotate(root, docker)
	addDoctor(root, docker)
	addSwarmLabels(root, docker)
	root.AddCommand(backupCommand(docker), restoreCommand(docker), recoverCommand(docker))
	root.AddCommand(words()...)
	return root, opts
}

// globalFlags reads the flags before the first word and returns what follows them. docker/cli's flags are not allowed to
// stand between the words, since a word may use the same letter for something else.
func globalFlags(root *cobra.Command, args []string) ([]string, error) {
	f := pflag.NewFlagSet(root.Name(), pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.SetOutput(io.Discard)
	f.AddFlagSet(root.Flags())
	f.AddFlagSet(root.PersistentFlags())
	if err := f.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return []string{"--help"}, nil
		}
		return nil, root.FlagErrorFunc()(root, err)
	}
	if f.Changed("version") || f.Changed("help") {
		return args, nil
	}
	return f.Args(), nil
}

// connect makes the API client. Where docker/cli would fall back to Docker's socket, ours is taken: only when neither a flag,
// nor the environment, nor a chosen context names another.
func connect(docker *command.DockerCli, opts *flags.ClientOptions, set *pflag.FlagSet) error {
	opts.SetDefaultOptions(set)
	if opts.ConfigDir != "" {
		config.SetDir(opts.ConfigDir)
	}
	chosen := docker.ConfigFile().CurrentContext
	if len(opts.Hosts) == 0 && opts.Context == "" && os.Getenv(client.EnvOverrideHost) == "" &&
		os.Getenv("DOCKER_CONTEXT") == "" && (chosen == "" || chosen == "default") {
		opts.Hosts = []string{DefaultHost}
	}
	return docker.Initialize(opts)
}

func dockerStatus(to io.Writer, err error) int {
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	if err == nil {
		return 0
	}
	if errdefs.IsCanceled(err) || errors.Is(err, context.Canceled) {
		return 130
	}
	if err.Error() != "" {
		fmt.Fprintln(to, err)
	}
	var status cli.StatusError
	if errors.As(err, &status) && status.StatusCode != 0 {
		return status.StatusCode
	}
	return 1
}
