package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
	"shoal/internal/engine"
	"shoal/internal/image"
	"shoal/internal/volume"
)

// Local is what the routes of the node's own objects need. A nil part answers 501.
type Local struct {
	Engine  *engine.Engine
	Images  *image.Store
	Volumes *volume.Store
}

func (s *Server) localRoutes() []route {
	var all []route
	for _, part := range [][]route{s.containerRoutes(), s.streamRoutes(), s.imageRoutes(), s.volumeRoutes()} {
		all = append(all, part...)
	}
	return all
}

func (s *Server) containerRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/containers/json", handler: s.containerList},
		{method: http.MethodPost, pattern: "/containers/create", handler: s.containerCreate},
		{method: http.MethodPost, pattern: "/containers/prune", handler: s.containerPrune},
		{method: http.MethodGet, pattern: "/containers/{id}/json", handler: s.containerInspect},
		{method: http.MethodPost, pattern: "/containers/{id}/start", handler: s.containerStart},
		{method: http.MethodPost, pattern: "/containers/{id}/stop", handler: s.containerStop},
		{method: http.MethodPost, pattern: "/containers/{id}/restart", handler: s.containerRestart},
		{method: http.MethodPost, pattern: "/containers/{id}/kill", handler: s.containerKill},
		{method: http.MethodPost, pattern: "/containers/{id}/pause", handler: s.containerPause},
		{method: http.MethodPost, pattern: "/containers/{id}/unpause", handler: s.containerUnpause},
		{method: http.MethodPost, pattern: "/containers/{id}/wait", handler: s.containerWait},
		{method: http.MethodPost, pattern: "/containers/{id}/rename", handler: s.containerRename},
		{method: http.MethodPost, pattern: "/containers/{id}/resize", handler: s.containerResize},
		{method: http.MethodPost, pattern: "/containers/{id}/update", handler: s.containerUpdate},
		{method: http.MethodGet, pattern: "/containers/{id}/top", handler: s.containerTop},
		{method: http.MethodDelete, pattern: "/containers/{id}", handler: s.containerRemove},
		{method: http.MethodGet, pattern: "/containers/{id}/changes", handler: unsupported("container changes")},
		{method: http.MethodGet, pattern: "/containers/{id}/export", handler: unsupported("container export")},
		{method: http.MethodPost, pattern: "/commit", handler: unsupported("commit")},
	}
}

// unsupported answers 501 for what Shoal leaves out.
func unsupported(what string) handler {
	return func(http.ResponseWriter, *http.Request) error { return errNoPart(what) }
}

// engine is the node's containers, or 501.
func (s *Server) engine() (*engine.Engine, error) {
	if s.cfg.Engine == nil {
		return nil, errNoPart("containers")
	}
	return s.cfg.Engine, nil
}

func (s *Server) containerList(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	o := engine.ListOptions{All: boolParam(r, "all"), Size: boolParam(r, "size"), Filters: f}
	if v := r.URL.Query().Get("limit"); v != "" {
		if o.Limit, err = strconv.Atoi(v); err != nil {
			return badParam("limit", v)
		}
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	list, err := e.Summaries(r.Context(), o)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) containerCreate(w http.ResponseWriter, r *http.Request) error {
	var req container.CreateRequest
	if err := decode(w, r, &req, bodyLimit); err != nil {
		return err
	}
	if req.Config == nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "config cannot be empty in order to create a container")
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	in := engine.CreateRequest{Name: strings.TrimPrefix(r.URL.Query().Get("name"), "/"), Config: req.Config, HostConfig: req.HostConfig}
	if req.NetworkingConfig != nil {
		in.Endpoints = req.NetworkingConfig.EndpointsConfig
	}
	c, warnings, err := e.Create(r.Context(), in)
	if err != nil {
		return err
	}
	if warnings == nil {
		warnings = []string{}
	}
	return writeJSON(w, http.StatusCreated, container.CreateResponse{ID: c.ID(), Warnings: warnings})
}

func (s *Server) containerInspect(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	c, err := e.Inspect(r.Context(), r.PathValue("id"), boolParam(r, "size"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

// verb runs one of the engine's verbs on the path's container and answers 204; 304 when it is as it should be already.
func (s *Server) verb(w http.ResponseWriter, r *http.Request, do func(e *engine.Engine, ctx context.Context, ref string) error) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	err = do(e, r.Context(), r.PathValue("id"))
	if errors.Is(err, engine.ErrNotModified) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) containerStart(w http.ResponseWriter, r *http.Request) error {
	return s.verb(w, r, (*engine.Engine).Start)
}

func (s *Server) containerPause(w http.ResponseWriter, r *http.Request) error {
	return s.verb(w, r, (*engine.Engine).Pause)
}

func (s *Server) containerUnpause(w http.ResponseWriter, r *http.Request) error {
	return s.verb(w, r, (*engine.Engine).Unpause)
}

func (s *Server) containerStop(w http.ResponseWriter, r *http.Request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return s.verb(w, r, func(e *engine.Engine, ctx context.Context, ref string) error {
		// A client that hangs up does not take its wish back.
		return e.Stop(context.WithoutCancel(ctx), ref, o)
	})
}

func (s *Server) containerRestart(w http.ResponseWriter, r *http.Request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return s.verb(w, r, func(e *engine.Engine, ctx context.Context, ref string) error {
		return e.Restart(context.WithoutCancel(ctx), ref, o)
	})
}

func stopOptions(r *http.Request) (engine.StopOptions, error) {
	o := engine.StopOptions{Signal: r.URL.Query().Get("signal")}
	if v := r.URL.Query().Get("t"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return o, badParam("t", v)
		}
		d := time.Duration(n) * time.Second
		o.Timeout = &d
	}
	return o, nil
}

func (s *Server) containerKill(w http.ResponseWriter, r *http.Request) error {
	return s.verb(w, r, func(e *engine.Engine, ctx context.Context, ref string) error {
		return e.Kill(ctx, ref, r.URL.Query().Get("signal"))
	})
}

func (s *Server) containerRename(w http.ResponseWriter, r *http.Request) error {
	return s.verb(w, r, func(e *engine.Engine, ctx context.Context, ref string) error {
		return e.Rename(ctx, ref, strings.TrimPrefix(r.URL.Query().Get("name"), "/"))
	})
}

func (s *Server) containerRemove(w http.ResponseWriter, r *http.Request) error {
	if boolParam(r, "link") {
		return errNoPart("legacy links")
	}
	return s.verb(w, r, func(e *engine.Engine, ctx context.Context, ref string) error {
		return e.Remove(context.WithoutCancel(ctx), ref, engine.RemoveOptions{Force: boolParam(r, "force"), Volumes: boolParam(r, "v")})
	})
}

// containerWait sends its headers at once: they tell the client that the wait is registered, before it starts the container.
func (s *Server) containerWait(w http.ResponseWriter, r *http.Request) error {
	until := container.WaitCondition(r.URL.Query().Get("condition"))
	switch until {
	case "":
		until = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid condition: %q", string(until))
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	answer, err := e.Wait(r.Context(), r.PathValue("id"), until)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	a, ok := <-answer
	if !ok {
		return r.Context().Err()
	}
	return json.NewEncoder(w).Encode(a)
}

// sizeParams are a terminal's height and width.
func sizeParams(r *http.Request) (height, width uint32, _ error) {
	var size [2]uint32
	for i, name := range []string{"h", "w"} {
		v := r.URL.Query().Get(name)
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return 0, 0, badParam(name, v)
		}
		size[i] = uint32(n)
	}
	return size[0], size[1], nil
}

func (s *Server) containerResize(w http.ResponseWriter, r *http.Request) error {
	height, width, err := sizeParams(r)
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	if err := e.Resize(r.Context(), r.PathValue("id"), height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) containerUpdate(w http.ResponseWriter, r *http.Request) error {
	var u container.UpdateConfig
	if err := decode(w, r, &u, bodyLimit); err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	if err := e.Update(r.Context(), r.PathValue("id"), u); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, container.UpdateResponse{Warnings: []string{}})
}

func (s *Server) containerTop(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	top, err := e.Top(r.Context(), r.PathValue("id"), r.URL.Query().Get("ps_args"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, top)
}

func (s *Server) containerPrune(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err == nil {
		err = f.Check("until", "label", "label!")
	}
	if err != nil {
		return err
	}
	var until time.Time
	if len(f["until"]) > 0 {
		if until, err = parseTime("until", f["until"][0], time.Now()); err != nil {
			return err
		}
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, e.Prune(r.Context(), until, f["label"], f["label!"]))
}
