package api

import (
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"

	"shoal/internal/cluster"
	"shoal/internal/image"
)

func (s *Server) imageRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/images/json", handler: s.imageList},
		{method: http.MethodPost, pattern: "/images/create", handler: s.imageCreate},
		{method: http.MethodPost, pattern: "/images/load", handler: s.imageLoad},
		{method: http.MethodGet, pattern: "/images/get", handler: s.imageSave},
		{method: http.MethodGet, pattern: "/images/{name...}/get", handler: s.imageSave},
		{method: http.MethodPost, pattern: "/images/prune", handler: s.imagePrune},
		{method: http.MethodGet, pattern: "/images/search", handler: unsupported("search")},
		{method: http.MethodGet, pattern: "/images/{name...}/json", handler: s.imageInspect},
		{method: http.MethodGet, pattern: "/images/{name...}/history", handler: s.imageHistory},
		{method: http.MethodPost, pattern: "/images/{name...}/tag", handler: s.imageTag},
		{method: http.MethodPost, pattern: "/images/{name...}/push", handler: s.imagePush},
		{method: http.MethodDelete, pattern: "/images/{name...}", handler: s.imageRemove},
		{method: http.MethodGet, pattern: "/distribution/{name...}/json", handler: s.distribution},
		{method: http.MethodPost, pattern: "/auth", handler: s.login},
		{method: http.MethodPost, pattern: "/build", handler: unsupported("build (make images with another tool and load or push them)")},
		{method: http.MethodPost, pattern: "/build/prune", handler: s.buildPrune},
		{method: http.MethodGet, pattern: "/system/df", handler: s.diskUsage},
	}
}

// images is the node's images, or 501.
func (s *Server) images() (*image.Store, error) {
	if s.cfg.Images == nil {
		return nil, errNoPart("images")
	}
	return s.cfg.Images, nil
}

func (s *Server) imageList(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	list, err := st.List(r.Context(), image.Filters(f))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// imageCreate pulls.
func (s *Server) imageCreate(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("fromSrc") != "" {
		return errNoPart("image import")
	}
	ref := q.Get("fromImage")
	if ref == "" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "fromImage is required")
	}
	if tag := q.Get("tag"); strings.Contains(tag, ":") {
		ref += "@" + tag
	} else if tag != "" {
		ref += ":" + tag
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	p := &progress{w: w}
	_, err = st.Pull(r.Context(), ref, r.Header.Get(registry.AuthHeader), p.add)
	return p.end(err)
}

func (s *Server) imageLoad(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	p := &progress{w: w}
	return p.end(st.Load(r.Context(), r.Body, p.add))
}

func (s *Server) imageSave(w http.ResponseWriter, r *http.Request) error {
	names := r.URL.Query()["names"]
	if name := r.PathValue("name"); name != "" {
		names = []string{name}
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return st.Save(r.Context(), names, w)
}

func (s *Server) imageInspect(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	img, err := st.Inspect(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, img)
}

func (s *Server) imageHistory(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	h, err := st.History(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h)
}

func (s *Server) imageTag(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	if err := st.Tag(r.Context(), r.PathValue("name"), r.URL.Query().Get("repo"), r.URL.Query().Get("tag")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) imagePush(w http.ResponseWriter, r *http.Request) error {
	ref := r.PathValue("name")
	if tag := r.URL.Query().Get("tag"); tag != "" {
		ref += ":" + tag
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	p := &progress{w: w}
	return p.end(st.Push(r.Context(), ref, r.Header.Get(registry.AuthHeader), p.add))
}

func (s *Server) imageRemove(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	gone, err := st.Remove(r.Context(), r.PathValue("name"), boolParam(r, "force"))
	if err != nil {
		return err
	}
	if gone == nil {
		gone = []imagetypes.DeleteResponse{}
	}
	return writeJSON(w, http.StatusOK, gone)
}

func (s *Server) imagePrune(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	report, err := st.Prune(r.Context(), image.Filters(f))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

// buildPrune serves `docker system prune`: there is no builder, so there is nothing to prune.
func (s *Server) buildPrune(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}
