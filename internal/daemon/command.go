package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Command is the word `daemon`: flags, signals, [Run].
func Command() *cobra.Command {
	cfg := Defaults()
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Run a node: containers on this machine, and its part in a swarm",
		Long: `Run a node. The flags have dockerd's names. The daemon serves the Docker Engine API on its hosts, keeps the
node's containers running through its own restart, and takes its part in the swarm that it has been made or joined to.

SIGTERM and SIGINT end it in good order; containers run on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := new(slog.LevelVar)
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			if err := cfg.Load(cmd.Flags(), log); err != nil {
				return err
			}
			level.Set(cfg.Level())
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return Run(ctx, cfg, log)
		},
	}
	cfg.Flags(cmd.Flags())
	return cmd
}

// Run runs a daemon until ctx ends, and returns when its parts have ended.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	d, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	return d.serve(ctx)
}
