package api

import (
	"net/http"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
)

func (s *Server) nodeList(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	nodes, err := c.Nodes(f)
	if err != nil {
		return err
	}
	body, err := s.nodes.list(nodes, len(f) == 0)
	if err != nil {
		return err
	}
	return writeBody(w, http.StatusOK, body)
}

func (s *Server) nodeInspect(w http.ResponseWriter, r *http.Request) error {
	return inspected(s, w, r, (*controlplane.Control).Node)
}

func (s *Server) nodeUpdate(w http.ResponseWriter, r *http.Request) error {
	return updated(s, w, r, bodyLimit, (*controlplane.Control).UpdateNode)
}

func (s *Server) nodeRemove(w http.ResponseWriter, r *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	return c.RemoveNode(r.Context(), r.PathValue("id"), boolParam(r, "force"))
}

func (s *Server) secretList(w http.ResponseWriter, r *http.Request) error {
	return listed(s, w, r, (*controlplane.Control).Secrets)
}

func (s *Server) secretInspect(w http.ResponseWriter, r *http.Request) error {
	return inspected(s, w, r, (*controlplane.Control).Secret)
}

func (s *Server) secretCreate(w http.ResponseWriter, r *http.Request) error {
	id, err := created(s, w, r, (*controlplane.Control).CreateSecret)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, swarm.SecretCreateResponse{ID: id})
}

func (s *Server) secretUpdate(w http.ResponseWriter, r *http.Request) error {
	return updated(s, w, r, dataLimit, (*controlplane.Control).UpdateSecret)
}

func (s *Server) secretRemove(w http.ResponseWriter, r *http.Request) error {
	return removed(s, w, r, (*controlplane.Control).RemoveSecret)
}

func (s *Server) configList(w http.ResponseWriter, r *http.Request) error {
	return listed(s, w, r, (*controlplane.Control).Configs)
}

func (s *Server) configInspect(w http.ResponseWriter, r *http.Request) error {
	return inspected(s, w, r, (*controlplane.Control).Config)
}

func (s *Server) configCreate(w http.ResponseWriter, r *http.Request) error {
	id, err := created(s, w, r, (*controlplane.Control).CreateConfig)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, swarm.ConfigCreateResponse{ID: id})
}

func (s *Server) configUpdate(w http.ResponseWriter, r *http.Request) error {
	return updated(s, w, r, dataLimit, (*controlplane.Control).UpdateConfig)
}

func (s *Server) configRemove(w http.ResponseWriter, r *http.Request) error {
	return removed(s, w, r, (*controlplane.Control).RemoveConfig)
}
