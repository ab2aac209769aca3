package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Config says what a Server answers. The zero value listens on port 80.
type Config struct {
	Addr    string        // listen address; empty: ":80"
	Version string        // shown in every answer
	Task    string        // shown in every answer; a service sets it by the template {{.Task.Name}}
	Sick    string        // a file: while it exists, /healthz says 500; empty: never sick
	Grace   time.Duration // how long requests may take to end after ctx; 0: 5 s
	Log     io.Writer     // one line at start and one at the end; nil: none
}

// Handler answers / with one line of key=value pairs, and /healthz.
func Handler(c Config) http.Handler {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		caller, _, _ := net.SplitHostPort(r.RemoteAddr)
		own := ""
		if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			own, _, _ = net.SplitHostPort(a.String())
		}
		fmt.Fprintf(w, "version=%s host=%s task=%s address=%s caller=%s\n", c.Version, host, c.Task, own, caller)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if c.Sick != "" {
			if _, err := os.Stat(c.Sick); err == nil {
				http.Error(w, "sick", http.StatusInternalServerError)
				return
			}
		}
		fmt.Fprintln(w, "well")
	})
	return mux
}

// Serve answers until ctx ends, then lets running requests finish within c.Grace.
func Serve(ctx context.Context, c Config) error {
	if c.Addr == "" {
		c.Addr = ":80"
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: Handler(c), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		fmt.Fprintln(c.Log, "stopping")
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Grace)
		defer cancel()
		done <- srv.Shutdown(grace)
	})
	defer stop()
	fmt.Fprintf(c.Log, "web %s listens on %s\n", c.Version, l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}
