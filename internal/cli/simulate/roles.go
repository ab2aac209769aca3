package simulate

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"shoal/internal/daemon"
	"shoal/internal/sim/load"
)

// managerCommand runs one manager until it is killed.
func managerCommand() *cobra.Command {
	return &cobra.Command{
		Use: load.RoleManager, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := load.Input[load.Manager](cmd.InOrStdin())
			if err != nil {
				return err
			}
			load.Profiles(m.Profile, m.Name, profiled(cmd.OutOrStdout()))
			cfg := daemon.Config{Hosts: []string{"unix://" + m.Socket}, DataRoot: m.Dir, ExecRoot: m.Dir}
			said := func() { fmt.Fprintln(cmd.OutOrStdout(), "ready") }
			return daemon.Hollow(cmd.Context(), cfg, load.NewExecutor(m.Name), said, logger(cmd.ErrOrStderr()))
		},
	}
}

// agentsCommand runs agents until it is killed.
func agentsCommand() *cobra.Command {
	return &cobra.Command{
		Use: load.RoleAgents, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := load.Input[load.AgentProcess](cmd.InOrStdin())
			if err != nil {
				return err
			}
			load.Profiles(a.Profile, fmt.Sprintf("agents%d", a.First), profiled(cmd.OutOrStdout()))
			return a.Run(cmd.Context(), func(int) {}, logger(cmd.ErrOrStderr()))
		},
	}
}

func logger(to io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// profiled tells the parent that profiles are written.
func profiled(to io.Writer) func(error) {
	return func(err error) { fmt.Fprintln(to, "profiled", err) }
}
