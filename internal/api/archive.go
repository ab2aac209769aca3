package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
	"shoal/internal/engine"
)

// statHeader tells about a path, as `docker cp` wants it.
const statHeader = "X-Docker-Container-Path-Stat"

func pathParam(r *http.Request) (string, error) {
	p := r.URL.Query().Get("path")
	if p == "" {
		return "", cluster.Errorf(errdefs.ErrInvalidArgument, "bad parameter: path cannot be empty")
	}
	return p, nil
}

func setStat(h http.Header, st container.PathStat) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	h.Set(statHeader, base64.StdEncoding.EncodeToString(b))
	return nil
}

func (s *Server) archiveHead(w http.ResponseWriter, r *http.Request) error {
	path, err := pathParam(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	st, err := e.Stat(r.Context(), r.PathValue("id"), path)
	if err != nil {
		return err
	}
	if err := setStat(w.Header(), st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) archiveGet(w http.ResponseWriter, r *http.Request) error {
	path, err := pathParam(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	var bad error
	begin := func(st container.PathStat) {
		bad = setStat(w.Header(), st)
		w.Header().Set("Content-Type", "application/x-tar")
	}
	if err := e.CopyOut(r.Context(), r.PathValue("id"), path, begin, w); err != nil {
		return err
	}
	return bad
}

func (s *Server) archivePut(w http.ResponseWriter, r *http.Request) error {
	path, err := pathParam(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	body, err := compression.DecompressStream(r.Body)
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %s", err)
	}
	defer body.Close()
	o := engine.CopyOptions{KeepKind: boolParam(r, "noOverwriteDirNonDir"), AsUser: boolParam(r, "copyUIDGID")}
	if err := e.CopyIn(r.Context(), r.PathValue("id"), path, body, o); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
