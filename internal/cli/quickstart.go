package cli

import (
	"os"

	"github.com/spf13/cobra"

	"shoal/internal/cli/quickstart"
)

func quickstartCommand() *cobra.Command {
	c := quickstart.Config{Dir: os.Getenv("SHOAL_QUICKSTART_DIR")}
	remove := false
	cmd := &cobra.Command{
		Use: "quickstart", Short: "Show a first service on this machine, step by step", Args: cobra.NoArgs,
		Long: `Start a daemon, make a swarm of this machine, and show a service answering, scaling, healing and outliving its daemon.
Each step is shown as the command that you could type. As root.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := beside("shoal")
			if err != nil {
				return err
			}
			c.Self, c.Out = self, cmd.OutOrStdout()
			s, err := quickstart.New(c)
			if err != nil {
				return err
			}
			if remove {
				return s.Remove(cmd.Context())
			}
			return s.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", c.Dir, "Keep all state below this folder (default: /var/lib/shoal and /run/shoal; environment SHOAL_QUICKSTART_DIR)")
	f.IntVar(&c.Port, "port", 8080, "Port to publish the sample service on")
	f.IntVar(&c.Registry, "registry-port", 0, "Loopback port of the sample registry (default 5000, or a free one)")
	f.BoolVar(&remove, "remove", false, "Remove everything that a quickstart made, without a trace")
	return cmd
}
