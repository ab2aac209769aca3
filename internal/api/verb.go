package api

import (
	"context"
	"net/http"

	"shoal/internal/controlplane"
)

// created decodes a spec, hands it to create and returns the new object's ID.
func created[T any](s *Server, w http.ResponseWriter, r *http.Request, create func(*controlplane.Control, context.Context, T) (string, error)) (string, error) {
	var spec T
	if err := decode(w, r, &spec, dataLimit); err != nil {
		return "", err
	}
	c, err := s.control()
	if err != nil {
		return "", err
	}
	return create(c, r.Context(), spec)
}

// updated decodes a spec and hands it to update with the path's object and the version it is based on.
func updated[T any](s *Server, w http.ResponseWriter, r *http.Request, limit int64,
	update func(c *controlplane.Control, ctx context.Context, ref string, version uint64, spec T) error,
) error {
	var spec T
	if err := decode(w, r, &spec, limit); err != nil {
		return err
	}
	index, err := versionParam(r)
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	return update(c, r.Context(), r.PathValue("id"), index, spec)
}

// removed has remove delete the path's object, and answers 204.
func removed(s *Server, w http.ResponseWriter, r *http.Request, remove func(c *controlplane.Control, ctx context.Context, ref string) error) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	if err := remove(c, r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listed answers with what list finds by the request's filters.
func listed[T any](s *Server, w http.ResponseWriter, r *http.Request, list func(*controlplane.Control, controlplane.Filters) ([]T, error)) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	found, err := list(c, f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, found)
}

// inspected answers with the one object that the path names.
func inspected[T any](s *Server, w http.ResponseWriter, r *http.Request, get func(*controlplane.Control, string) (T, error)) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	o, err := get(c, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, o)
}
