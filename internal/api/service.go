package api

import (
	"net/http"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
)

func (s *Server) serviceList(w http.ResponseWriter, r *http.Request) error {
	return listed(s, w, r, func(c *controlplane.Control, f controlplane.Filters) ([]swarm.Service, error) {
		return c.Services(f, versionOf(r) >= 41 && boolParam(r, "status"))
	})
}

func (s *Server) serviceInspect(w http.ResponseWriter, r *http.Request) error {
	return inspected(s, w, r, func(c *controlplane.Control, ref string) (swarm.Service, error) {
		return c.Service(ref, boolParam(r, "insertDefaults"))
	})
}

func (s *Server) serviceCreate(w http.ResponseWriter, r *http.Request) error {
	var body serviceBody
	if err := decode(w, r, &body, bodyLimit); err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	resp, err := c.CreateService(r.Context(), body.at(versionOf(r)), r.Header.Get(registry.AuthHeader))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, resp)
}

func (s *Server) serviceUpdate(w http.ResponseWriter, r *http.Request) error {
	var body serviceBody
	if err := decode(w, r, &body, bodyLimit); err != nil {
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
	q := r.URL.Query()
	resp, err := c.UpdateService(r.Context(), r.PathValue("id"), body.at(versionOf(r)), controlplane.ServiceUpdate{
		Version:      index,
		RegistryAuth: r.Header.Get(registry.AuthHeader),
		AuthFrom:     swarm.RegistryAuthSource(q.Get("registryAuthFrom")),
		Rollback:     q.Get("rollback"),
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, resp)
}

func (s *Server) serviceRemove(w http.ResponseWriter, r *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	return c.RemoveService(r.Context(), r.PathValue("id"))
}

func (s *Server) taskList(w http.ResponseWriter, r *http.Request) error {
	return listed(s, w, r, (*controlplane.Control).Tasks)
}

func (s *Server) taskInspect(w http.ResponseWriter, r *http.Request) error {
	return inspected(s, w, r, (*controlplane.Control).Task)
}
