// Command shoal is the whole of Shoal in one binary: `shoal daemon` runs a node, every other word is the CLI.
package main

import (
	"os"

	"shoal/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
