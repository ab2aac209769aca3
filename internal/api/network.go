package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
	"shoal/internal/controlplane"
)

// networkRoutes are of the node: they join its own networks with the swarm's, and turn to the leader themselves.
func (s *Server) networkRoutes() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{method: get, pattern: "/networks", handler: s.networkList},
		{method: post, pattern: "/networks/create", handler: s.networkCreate},
		{method: post, pattern: "/networks/prune", handler: s.networkPrune},
		{method: get, pattern: "/networks/{id}", handler: s.networkInspect},
		{method: http.MethodDelete, pattern: "/networks/{id}", handler: s.networkRemove},
		{method: post, pattern: "/networks/{id}/connect", handler: s.networkConnect},
		{method: post, pattern: "/networks/{id}/disconnect", handler: s.networkDisconnect},
	}
}

func (s *Server) networkList(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	if err := controlplane.CheckNetworkFilter(f); err != nil {
		return err
	}
	local, err := s.localNetworks(r.Context())
	if err != nil {
		return err
	}
	list := []network.Summary{}
	for _, n := range local {
		if controlplane.MatchNetwork(f, &n.Network, len(n.Containers) > 0) {
			list = append(list, network.Summary{Network: n.Network})
		}
	}
	if c, err := s.control(); err == nil {
		for _, n := range c.Networks() {
			if controlplane.MatchNetwork(f, &n.Network, f.Has("dangling") && c.NetworkBusy(n.ID)) {
				list = append(list, network.Summary{Network: n.Network})
			}
		}
	} else if known, err := s.swarmNetworks(r.Context(), true); err == nil { // without a manager the node's own are listed
		for _, n := range known {
			if controlplane.MatchNetwork(f, &n.Network, true) {
				list = append(list, network.Summary{Network: n.Network})
			}
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) localNetworks(ctx context.Context) ([]network.Inspect, error) {
	if s.cfg.Networks == nil {
		return nil, nil
	}
	return s.cfg.Networks.ListLocal(ctx)
}

// swarmNetworks is what a node that is no manager knows.
func (s *Server) swarmNetworks(ctx context.Context, used bool) ([]network.Inspect, error) {
	if s.cfg.SwarmNetworks == nil {
		return nil, nil
	}
	return s.cfg.SwarmNetworks(ctx, used)
}

// known finds a network of the swarm on a node that is no manager.
func (s *Server) known(ctx context.Context, ref string) (network.Inspect, error) {
	list, err := s.swarmNetworks(ctx, false)
	if err != nil {
		return network.Inspect{}, err
	}
	var begin []network.Inspect
	for _, n := range list {
		switch {
		case n.ID == ref || n.Name == ref:
			return n, nil
		case ref != "" && strings.HasPrefix(n.ID, ref):
			begin = append(begin, n)
		}
	}
	if len(begin) == 1 {
		return begin[0], nil
	}
	return network.Inspect{}, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
}

// place says whose network a reference means: the node's own (local), or the swarm's. An exact ID or name goes before
// the beginning of an ID. scope, when it is not empty, leaves only that kind.
func (s *Server) place(ctx context.Context, ref, scope string) (local bool, err error) {
	notFound := cluster.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	var own network.Inspect
	ownErr := error(notFound)
	if scope != "swarm" && s.cfg.Networks != nil {
		own, ownErr = s.cfg.Networks.InspectLocal(ctx, ref)
	}
	if ownErr == nil && (own.ID == ref || own.Name == ref) {
		return true, nil
	}
	c, err := s.control()
	if scope == "local" {
		return true, ownErr
	}
	if err != nil { // no manager: the leader tells it of some
		if _, err := s.known(ctx, ref); ownErr != nil && !errdefs.IsNotFound(err) {
			return false, err
		}
		return true, ownErr
	}
	n, err := c.Network(ref, false, false)
	switch {
	case err == nil && n.ID != ref && n.Name != ref && ownErr == nil:
		return false, cluster.Errorf(errdefs.ErrInvalidArgument, "network %s is ambiguous (2 matches found on ID prefix)", ref)
	case err == nil:
		return false, nil
	case ownErr == nil:
		return true, nil
	case errdefs.IsNotFound(err) && s.follows():
		return false, nil // it may be too new for this node: the leader knows
	case !errdefs.IsNotFound(ownErr):
		return true, ownErr
	case errdefs.IsNotFound(err):
		return false, notFound
	}
	return false, err
}

// follows says whether another node leads.
func (s *Server) follows() bool {
	leader, self := s.cfg.Swarm.Leader()
	return leader != nil && !self
}

func (s *Server) networkInspect(w http.ResponseWriter, r *http.Request) error {
	ref, q := r.PathValue("id"), r.URL.Query()
	local, err := s.place(r.Context(), ref, q.Get("scope"))
	if err != nil {
		return err
	}
	if local {
		n, err := s.cfg.Networks.InspectLocal(r.Context(), ref)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, n)
	}
	var n network.Inspect
	if c, none := s.control(); none != nil {
		n, err = s.known(r.Context(), ref)
	} else {
		n, err = c.Network(ref, boolParam(r, "verbose"), versionOf(r) >= 52)
		if errdefs.IsNotFound(err) {
			if done, err := s.forward(w, r); done || err != nil {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	if s.cfg.Connector != nil {
		if here := s.cfg.Connector.SwarmEndpoints(r.Context(), n.ID); here != nil {
			n.Containers = here
		}
	}
	return writeJSON(w, http.StatusOK, n)
}

func (s *Server) networkCreate(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit)) // the leader may have to read it too
	if err != nil {
		return bodyError(err, bodyLimit)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var req network.CreateRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if req.Driver != "overlay" && req.Scope != "swarm" && !req.Ingress {
		return s.networkCreateLocal(w, r, req)
	}
	if err := s.nameFree(r.Context(), req.Name); err != nil {
		return err
	}
	if done, err := s.forward(w, r); done || err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	id, err := c.CreateNetwork(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, network.CreateResponse{ID: id})
}

func (s *Server) networkCreateLocal(w http.ResponseWriter, r *http.Request, req network.CreateRequest) error {
	if s.cfg.Networks == nil {
		return errNoPart("networks of the node")
	}
	if c, err := s.control(); err == nil {
		if n, err := c.Network(req.Name, false, false); err == nil && n.Name == req.Name && n.Driver == "overlay" {
			return errNetworkName(req.Name)
		}
	}
	resp, err := s.cfg.Networks.CreateLocal(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, resp)
}

func errNetworkName(name string) error {
	return cluster.Errorf(errdefs.ErrAlreadyExists, "network with name %s already exists", name)
}

// nameFree refuses a name that a network that users made on this node has. The predefined ones the verb itself refuses.
func (s *Server) nameFree(ctx context.Context, name string) error {
	local, err := s.localNetworks(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(local, func(n network.Inspect) bool { return n.Name == name && !builtin(name) }) {
		return errNetworkName(name)
	}
	return nil
}

func builtin(name string) bool {
	return name == network.NetworkBridge || name == network.NetworkHost || name == network.NetworkNone
}

func (s *Server) networkRemove(w http.ResponseWriter, r *http.Request) error {
	ref := r.PathValue("id")
	local, err := s.place(r.Context(), ref, "")
	if err != nil {
		return err
	}
	if local {
		if err := s.cfg.Networks.RemoveLocal(r.Context(), ref); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if done, err := s.forward(w, r); done || err != nil {
		return err
	}
	return removed(s, w, r, (*controlplane.Control).RemoveNetwork)
}

func (s *Server) networkConnect(w http.ResponseWriter, r *http.Request) error {
	var req network.ConnectRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if s.cfg.Connector == nil {
		return errNoPart("connecting running containers")
	}
	return s.cfg.Connector.ConnectNetwork(r.Context(), r.PathValue("id"), req)
}

func (s *Server) networkDisconnect(w http.ResponseWriter, r *http.Request) error {
	var req network.DisconnectRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if s.cfg.Connector == nil {
		return errNoPart("disconnecting containers")
	}
	return s.cfg.Connector.DisconnectNetwork(r.Context(), r.PathValue("id"), req)
}

// errNoPart answers for what this daemon was built without.
func errNoPart(what string) error {
	return cluster.Errorf(errdefs.ErrNotImplemented, "%s: not supported by this daemon", what)
}

// networkPrune removes unused networks: this node's, and on a manager the swarm's.
func (s *Server) networkPrune(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	if err := f.Check("label", "label!", "until"); err != nil {
		return err
	}
	var before time.Time
	if until := f["until"]; len(until) > 0 {
		if before, err = parseTime("until", until[0], time.Now()); err != nil {
			return err
		}
	}
	report := network.PruneReport{NetworksDeleted: []string{}}
	local, err := s.localNetworks(r.Context())
	if err != nil {
		return err
	}
	for _, n := range local {
		if builtin(n.Name) || len(n.Containers) > 0 || !f.Labels("label", n.Labels) || !f.NotLabels("label!", n.Labels) ||
			!before.IsZero() && n.Created.After(before) {
			continue
		}
		if s.cfg.Networks.RemoveLocal(r.Context(), n.ID) == nil { // in use since: not for us to tell
			report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
		}
	}
	if c, err := s.control(); err == nil && !s.follows() {
		removed, err := c.PruneNetworks(r.Context(), f, before)
		if err != nil {
			return err
		}
		report.NetworksDeleted = append(report.NetworksDeleted, removed...)
	}
	return writeJSON(w, http.StatusOK, report)
}
