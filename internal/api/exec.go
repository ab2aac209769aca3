package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"shoal/internal/engine"
)

func (s *Server) execCreate(w http.ResponseWriter, r *http.Request) error {
	var req container.ExecCreateRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	id, err := e.ExecCreate(r.Context(), r.PathValue("id"), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

// execStart runs a command. What goes wrong after the connection was taken over is told in its output, as Docker does;
// the exit code says so too.
func (s *Server) execStart(w http.ResponseWriter, r *http.Request) error {
	var req container.ExecStartRequest
	if err := decodeOptional(w, r, &req, bodyLimit); err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	cfg, err := e.ExecConfig(id)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	if req.Detach {
		if err := e.ExecStart(ctx, id, engine.Streams{}, true, req.ConsoleSize); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	keys, err := engine.DetachKeys(cfg.DetachKeys)
	if err != nil {
		return err
	}
	conn, err := hijack(w, r, streamMedia(r, cfg.Tty))
	if err != nil {
		return err
	}
	defer conn.Close()
	stdout, stderr := outputs(conn, cfg.Tty)
	streams := engine.Streams{DetachKeys: keys}
	if cfg.AttachStdin {
		streams.Stdin = conn
	}
	if cfg.AttachStdout {
		streams.Stdout = stdout
	}
	if cfg.AttachStderr && !cfg.Tty {
		streams.Stderr = stderr
	}
	if err := e.ExecStart(ctx, id, streams, false, req.ConsoleSize); err != nil {
		fmt.Fprintf(stdout, "%s\r\n", err) // this is the client's connection: HTTP has none any more
		s.log.Debug("exec failed", "exec", id, "error", err)
	}
	return nil // the connection is no longer HTTP's: nothing can be answered
}

func (s *Server) execResize(w http.ResponseWriter, r *http.Request) error {
	height, width, err := sizeParams(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	if err := e.ExecResize(r.Context(), r.PathValue("id"), height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) execInspect(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	x, err := e.ExecInspect(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, x)
}
