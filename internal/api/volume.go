package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	volumetypes "github.com/moby/moby/api/types/volume"

	"shoal/internal/engine"
	"shoal/internal/volume"
)

func (s *Server) volumeRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/volumes", handler: s.volumeList},
		{method: http.MethodPost, pattern: "/volumes/create", handler: s.volumeCreate},
		{method: http.MethodPost, pattern: "/volumes/prune", handler: s.volumePrune},
		{method: http.MethodGet, pattern: "/volumes/{name}", handler: s.volumeInspect},
		{method: http.MethodPut, pattern: "/volumes/{name}", handler: unsupported("cluster volumes (CSI)")},
		{method: http.MethodDelete, pattern: "/volumes/{name}", handler: s.volumeRemove},
	}
}

// volumes is the node's volumes, or 501.
func (s *Server) volumes() (*volume.Store, error) {
	if s.cfg.Volumes == nil {
		return nil, errNoPart("volumes")
	}
	return s.cfg.Volumes, nil
}

func (s *Server) volumeList(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	st, err := s.volumes()
	if err != nil {
		return err
	}
	list, err := st.List(volume.Filters(f))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volumetypes.ListResponse{Volumes: list})
}

func (s *Server) volumeCreate(w http.ResponseWriter, r *http.Request) error {
	var req volumetypes.CreateRequest
	if err := decodeOptional(w, r, &req, bodyLimit); err != nil {
		return err
	}
	st, err := s.volumes()
	if err != nil {
		return err
	}
	v, err := st.Create(req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, v)
}

func (s *Server) volumeInspect(w http.ResponseWriter, r *http.Request) error {
	st, err := s.volumes()
	if err != nil {
		return err
	}
	v, err := st.Get(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *Server) volumeRemove(w http.ResponseWriter, r *http.Request) error {
	st, err := s.volumes()
	if err != nil {
		return err
	}
	if err := st.Remove(r.PathValue("name"), boolParam(r, "force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) volumePrune(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err != nil {
		return err
	}
	if versionOf(r) < 42 { // before, the named ones went too
		if f == nil {
			f = map[string][]string{}
		}
		f["all"] = []string{"true"}
	}
	st, err := s.volumes()
	if err != nil {
		return err
	}
	report, err := st.Prune(volume.Filters(f))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

// usage is the answer of /system/df: in the form of 1.52 and in the one before.
type usage struct {
	system.DiskUsage
	LayersSize int64                `json:",omitempty"`
	Images     []imagetypes.Summary `json:",omitempty"`
	Containers []container.Summary  `json:",omitempty"`
	Volumes    []volumetypes.Volume `json:",omitempty"`
	BuildCache []struct{}           `json:",omitempty"`
}

func (s *Server) diskUsage(w http.ResponseWriter, r *http.Request) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	imgs, err := s.images()
	if err != nil {
		return err
	}
	vols, err := s.volumes()
	if err != nil {
		return err
	}
	var u usage
	if u.Containers, err = e.Summaries(r.Context(), engine.ListOptions{All: true, Size: true}); err != nil {
		return err
	}
	if u.Images, err = imgs.List(r.Context(), nil); err != nil {
		return err
	}
	if u.LayersSize, err = imgs.DiskUse(r.Context()); err != nil {
		return err
	}
	u.Volumes = vols.Usage()
	if versionOf(r) < 52 {
		return writeJSON(w, http.StatusOK, u)
	}
	u.ImageUsage = &imagetypes.DiskUsage{TotalSize: u.LayersSize, TotalCount: int64(len(u.Images)), Items: u.Images}
	for _, i := range u.Images {
		if i.Containers > 0 {
			u.ImageUsage.ActiveCount++
		} else {
			u.ImageUsage.Reclaimable += i.Size
		}
	}
	u.ImageUsage.Reclaimable = min(u.ImageUsage.Reclaimable, u.LayersSize) // layers are shared
	u.ContainerUsage = &container.DiskUsage{TotalCount: int64(len(u.Containers)), Items: u.Containers}
	for _, c := range u.Containers {
		u.ContainerUsage.TotalSize += c.SizeRw
		if c.State == container.StateRunning || c.State == container.StatePaused {
			u.ContainerUsage.ActiveCount++
		} else {
			u.ContainerUsage.Reclaimable += c.SizeRw
		}
	}
	u.VolumeUsage = &volumetypes.DiskUsage{TotalCount: int64(len(u.Volumes)), Items: u.Volumes}
	for _, v := range u.Volumes {
		u.VolumeUsage.TotalSize += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			u.VolumeUsage.ActiveCount++
		} else {
			u.VolumeUsage.Reclaimable += v.UsageData.Size
		}
	}
	return writeJSON(w, http.StatusOK, u.DiskUsage)
}
