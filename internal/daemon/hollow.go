package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/events"

	"shoal/internal/agent"
	"shoal/internal/api"
	"shoal/internal/cluster"
)

// Hollow runs a node without containers, images or a data plane until ctx ends: a real node's life in a swarm, its Raft,
// its port and its API, over the executor. It is what `shoal simulate` has for managers. ready is called when the API
// answers.
func Hollow(ctx context.Context, cfg Config, executor agent.Executor, ready func(), log *slog.Logger) error {
	lock, err := cfg.claim()
	if err != nil {
		return err
	}
	defer lock.Close()
	listeners, err := cfg.listen()
	if err != nil {
		return err
	}
	n := newNode(cfg, executor, noDataPlane{}, func(events.Message) {}, log)
	n.places = newPlaces(nil, log) // it never begins
	handler := api.New(api.Config{Swarm: n, Log: log})
	n.api = handler
	if err := n.start(); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	ready()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, server.Close(), n.close())
}

// noDataPlane is a network that holds whatever it is told.
type noDataPlane struct{}

func (noDataPlane) Set(context.Context, cluster.NetworkState) error { return nil }

func (noDataPlane) Identify(string) {}
