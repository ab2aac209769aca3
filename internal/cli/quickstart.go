package cli

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"shoal/internal/cli/quickstart"
)

func quickstartCommand() *cobra.Command {
	c := quickstart.Config{Dir: cmp.Or(os.Getenv("SHOAL_QUICKSTART_DIR"), playgroundDir), DefaultDir: playgroundDir}
	remove := false
	cmd := &cobra.Command{
		Use: "quickstart", Short: "Show a cluster on this machine, step by step", Args: cobra.NoArgs,
		Long: `Make a cluster of five machines on this one (a playground), and show a service on it answering, scaling and healing: a
container dies, a worker and then the leading manager lose their power. Each step is shown as the command that you
could type. The cluster stays until it is removed (--remove). As root.`,
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
	f.StringVar(&c.Dir, "dir", c.Dir, "Folder of the playground (environment SHOAL_QUICKSTART_DIR)")
	f.IntVar(&c.Port, "port", 8080, "Port of the sample service, on the cluster and on 127.0.0.1")
	f.BoolVar(&remove, "remove", false, "Remove everything that a quickstart made, without a trace")
	return cmd
}
