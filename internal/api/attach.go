package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
	"shoal/internal/engine"
)

func (s *Server) streamRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/containers/{id}/logs", handler: s.containerLogs},
		{method: http.MethodPost, pattern: "/containers/{id}/attach", handler: s.containerAttach},
		{method: http.MethodGet, pattern: "/containers/{id}/attach/ws", handler: unsupported("attach by websocket")},
		{method: http.MethodGet, pattern: "/containers/{id}/stats", handler: s.containerStats},
		{method: http.MethodPost, pattern: "/containers/{id}/exec", handler: s.execCreate},
		{method: http.MethodPost, pattern: "/exec/{id}/start", handler: s.execStart},
		{method: http.MethodPost, pattern: "/exec/{id}/resize", handler: s.execResize},
		{method: http.MethodGet, pattern: "/exec/{id}/json", handler: s.execInspect},
		{method: http.MethodGet, pattern: "/containers/{id}/archive", handler: s.archiveGet},
		{method: http.MethodHead, pattern: "/containers/{id}/archive", handler: s.archiveHead},
		{method: http.MethodPut, pattern: "/containers/{id}/archive", handler: s.archivePut},
		{method: http.MethodGet, pattern: "/events", handler: s.events},
	}
}

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	c, err := e.Find(r.PathValue("id"))
	if err != nil {
		return err
	}
	rec := c.Record()
	if rec.HostConfig.LogConfig.Type == "none" {
		return cluster.Errorf(errdefs.ErrNotImplemented, "configured logging driver does not support reading")
	}
	w.Header().Set("Content-Type", streamMedia(r, rec.Config.Tty))
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	return s.copyLogs(r, flusher{w}, c.ID(), rec.Config.Tty, q)
}

// copyLogs writes a container's log into a stream.
func (s *Server) copyLogs(r *http.Request, to io.Writer, id string, tty bool, q logQuery) error {
	stdout, stderr := outputs(to, tty)
	o := engine.LogOptions{Stdout: q.Stdout, Stderr: q.Stderr, Follow: q.Follow, Since: q.Since, Until: q.Until, Tail: q.Tail}
	for line, err := range s.cfg.Engine.Logs(r.Context(), id, o) {
		if err != nil {
			return err
		}
		out := stdout
		if line.Stream == "stderr" {
			out = stderr
		}
		if _, err := out.Write(engine.FormatLine(line, q.timestamps, q.details)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) containerAttach(w http.ResponseWriter, r *http.Request) error {
	keys, err := engine.DetachKeys(r.URL.Query().Get("detachKeys"))
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	c, err := e.Find(r.PathValue("id"))
	if err != nil {
		return err
	}
	rec := c.Record()
	if rec.State.Status == container.StatePaused {
		return cluster.Errorf(errdefs.ErrConflict, "container %s is paused, unpause the container before attach", rec.ID)
	}
	tty := rec.Config.Tty
	conn, err := hijack(w, r, streamMedia(r, tty))
	if err != nil {
		return err
	}
	defer conn.Close()
	q := logQuery{LogOptions: LogOptions{Stdout: boolParam(r, "stdout"), Stderr: boolParam(r, "stderr"), Tail: -1}}
	if boolParam(r, "logs") && (q.Stdout || q.Stderr) {
		if err := s.copyLogs(r, conn, rec.ID, tty, q); err != nil {
			s.log.Debug("attach: log not replayed", "container", rec.ID, "error", err)
		}
	}
	if !boolParam(r, "stream") {
		return nil
	}
	streams := engine.Streams{DetachKeys: keys}
	stdout, stderr := outputs(conn, tty)
	if q.Stdout {
		streams.Stdout = stdout
	}
	if q.Stderr {
		streams.Stderr = stderr
	}
	if boolParam(r, "stdin") && rec.Config.OpenStdin {
		streams.Stdin = conn
	}
	if err := c.Attach(context.WithoutCancel(r.Context()), streams); err != nil { // the end of input is no end of interest
		s.log.Debug("attach ended", "container", rec.ID, "error", err)
	}
	return nil // the connection is no longer HTTP's: nothing can be answered
}

func (s *Server) containerStats(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	c, err := e.Find(r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(flusher{w})
	for st, err := range e.Stats(r.Context(), c.ID(), boolParamOr(r, "stream", true), boolParam(r, "one-shot")) {
		if err != nil {
			return err
		}
		if err := enc.Encode(st); err != nil {
			return err
		}
	}
	return nil
}
