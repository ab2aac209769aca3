// Command containerd-shim-shoal-v1 stays beside one container: runc, logs, the exit record and attach. containerd
// starts it; under the name docker-init it is the first process of a container made with --init.
package main

import (
	"os"
	"path/filepath"

	"shoal/internal/shim"
)

func main() {
	if filepath.Base(os.Args[0]) == filepath.Base(shim.InitPath) {
		os.Exit(shim.Init(os.Args[1:], os.Stderr))
	}
	shim.Run()
}
