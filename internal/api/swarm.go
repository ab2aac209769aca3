package api

import (
	"net/http"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
)

// swarmRoutes are the swarm's own routes. Those that make or end this node's membership are this node's.
func (s *Server) swarmRoutes() []route {
	get, post, del := http.MethodGet, http.MethodPost, http.MethodDelete
	return []route{
		{method: post, pattern: "/swarm/init", handler: s.swarmInit},
		{method: post, pattern: "/swarm/join", handler: s.swarmJoin},
		{method: post, pattern: "/swarm/leave", handler: s.swarmLeave},
		{method: post, pattern: "/swarm/unlock", handler: s.swarmUnlock},
		{method: get, pattern: "/swarm", scope: swarmScope, handler: s.swarmInspect},
		{method: post, pattern: "/swarm/update", scope: swarmScope, handler: s.swarmUpdate},
		{method: get, pattern: "/swarm/unlockkey", scope: swarmScope, handler: s.swarmUnlockKey},

		{method: get, pattern: "/nodes", scope: swarmScope, handler: s.nodeList},
		{method: get, pattern: "/nodes/{id}", scope: swarmScope, handler: s.nodeInspect},
		{method: post, pattern: "/nodes/{id}/update", scope: swarmScope, handler: s.nodeUpdate},
		{method: del, pattern: "/nodes/{id}", scope: swarmScope, handler: s.nodeRemove},

		{method: get, pattern: "/services", scope: swarmScope, handler: s.serviceList},
		{method: post, pattern: "/services/create", scope: swarmScope, handler: s.serviceCreate},
		{method: get, pattern: "/services/{id}", scope: swarmScope, handler: s.serviceInspect},
		{method: post, pattern: "/services/{id}/update", scope: swarmScope, handler: s.serviceUpdate},
		{method: del, pattern: "/services/{id}", scope: swarmScope, handler: s.serviceRemove},
		{method: get, pattern: "/services/{id}/logs", scope: swarmScope, handler: s.serviceLogs},
		{method: get, pattern: "/tasks", scope: swarmScope, handler: s.taskList},
		{method: get, pattern: "/tasks/{id}", scope: swarmScope, handler: s.taskInspect},
		{method: get, pattern: "/tasks/{id}/logs", scope: swarmScope, handler: s.taskLogs},

		{method: get, pattern: "/secrets", scope: swarmScope, handler: s.secretList},
		{method: post, pattern: "/secrets/create", scope: swarmScope, handler: s.secretCreate},
		{method: get, pattern: "/secrets/{id}", scope: swarmScope, handler: s.secretInspect},
		{method: post, pattern: "/secrets/{id}/update", scope: swarmScope, handler: s.secretUpdate},
		{method: del, pattern: "/secrets/{id}", scope: swarmScope, handler: s.secretRemove},
		{method: post, pattern: "/shoal/secrets/{id}/rotate", scope: swarmScope, handler: s.secretRotate},
		{method: post, pattern: "/shoal/networks/{id}/rotate", scope: swarmScope, handler: s.networkRotate},
		{method: get, pattern: "/configs", scope: swarmScope, handler: s.configList},
		{method: post, pattern: "/configs/create", scope: swarmScope, handler: s.configCreate},
		{method: get, pattern: "/configs/{id}", scope: swarmScope, handler: s.configInspect},
		{method: post, pattern: "/configs/{id}/update", scope: swarmScope, handler: s.configUpdate},
		{method: del, pattern: "/configs/{id}", scope: swarmScope, handler: s.configRemove},
		{method: post, pattern: "/shoal/configs/{id}/rotate", scope: swarmScope, handler: s.configRotate},
	}
}

func (s *Server) swarmInit(w http.ResponseWriter, r *http.Request) error {
	var req swarm.InitRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if s.cfg.Swarm == nil {
		return errNoSwarm()
	}
	id, err := s.cfg.Swarm.Init(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, id)
}

func (s *Server) swarmJoin(w http.ResponseWriter, r *http.Request) error {
	var req swarm.JoinRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if s.cfg.Swarm == nil {
		return errNoSwarm()
	}
	return s.cfg.Swarm.Join(r.Context(), req)
}

func (s *Server) swarmLeave(_ http.ResponseWriter, r *http.Request) error {
	if s.cfg.Swarm == nil {
		return errNoSwarm()
	}
	return s.cfg.Swarm.Leave(r.Context(), boolParam(r, "force"))
}

func (s *Server) swarmUnlock(w http.ResponseWriter, r *http.Request) error {
	var req swarm.UnlockRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if s.cfg.Swarm == nil {
		return errNoSwarm()
	}
	return s.cfg.Swarm.Unlock(r.Context(), req.UnlockKey)
}

func (s *Server) swarmInspect(w http.ResponseWriter, _ *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	sw, err := c.Swarm()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, sw)
}

func (s *Server) swarmUpdate(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.Spec
	if err := decode(w, r, &spec, bodyLimit); err != nil {
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
	return c.UpdateSwarm(r.Context(), spec, controlplane.SwarmUpdate{
		Version:            index,
		RotateWorkerToken:  boolParam(r, "rotateWorkerToken"),
		RotateManagerToken: boolParam(r, "rotateManagerToken"),
		RotateKey:          boolParam(r, "rotateManagerUnlockKey"),
	})
}

func (s *Server) swarmUnlockKey(w http.ResponseWriter, _ *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	key, err := c.UnlockKey()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: key})
}
