// Command shoal-sample is the program inside the sample image: a small static web server. `shoal sample registry` puts it
// into an OCI image and serves that from loopback.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"shoal/internal/cluster"
	"shoal/internal/sample/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := web.Serve(ctx, web.Config{
		Addr: os.Getenv("LISTEN"), Version: cmp.Or(os.Getenv("VERSION"), cluster.Version), Task: os.Getenv("TASK"), Log: os.Stdout,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
