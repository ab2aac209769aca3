package cli

import (
	"github.com/spf13/cobra"

	"shoal/internal/daemon"
)

// daemonCommand runs a node: dockerd's flags, read by package daemon.
func daemonCommand() *cobra.Command { return daemon.Command() }
