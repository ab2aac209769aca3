// Command shoal is the whole of Shoal in one binary: `shoal daemon` runs a node, every other word is the CLI.
package main

import (
	"os"

	"shoal/internal/cli"
	"shoal/internal/network/tunnel"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == tunnel.Word { // a process that the daemon starts for an encrypted network
		os.Exit(tunnel.Main(os.Args[2:]))
	}
	os.Exit(cli.Main(os.Args))
}
