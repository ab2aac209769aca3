package api

import (
	"io"
	"net/http"
	"runtime"
	"strconv"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

func (s *Server) systemRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/_ping", handler: s.ping},
		{method: http.MethodHead, pattern: "/_ping", handler: s.ping},
		{method: http.MethodGet, pattern: "/version", handler: s.versionGet},
		{method: http.MethodGet, pattern: "/info", handler: s.infoGet},
	}
}

// serverHeaders are on every answer of this daemon.
var serverHeaders = [...]string{"Server", "Api-Version", "Docker-Experimental", "Ostype"}

func (s *Server) setServerHeaders(h http.Header) {
	h.Set("Server", "Shoal/"+s.cfg.Facts.Version+" ("+runtime.GOOS+")")
	h.Set("Api-Version", maxVersion.String())
	h.Set("Docker-Experimental", strconv.FormatBool(s.cfg.Facts.Base.ExperimentalBuild))
	h.Set("Ostype", runtime.GOOS)
}

// dropServerHeaders makes room for another daemon's answer.
func dropServerHeaders(h http.Header) {
	for _, name := range serverHeaders {
		h.Del(name)
	}
}

// ping answers every client's first question. Builder-Version 1 keeps clients from looking for a BuildKit.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "1")
	h.Set("Swarm", s.swarmState(r))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := io.WriteString(w, "OK")
	return err
}

// swarmState is "inactive", "pending", "error", "locked", "active/manager" or "active/worker".
func (s *Server) swarmState(r *http.Request) string {
	if s.cfg.Swarm == nil {
		return string(swarm.LocalNodeStateInactive)
	}
	info := s.cfg.Swarm.Info(r.Context())
	switch {
	case info.LocalNodeState != swarm.LocalNodeStateActive:
		return string(info.LocalNodeState)
	case info.ControlAvailable:
		return "active/manager"
	}
	return "active/worker"
}

func (s *Server) versionGet(w http.ResponseWriter, _ *http.Request) error {
	facts, kernel := &s.cfg.Facts, kernelVersion()
	engine := system.ComponentVersion{Name: "Engine", Version: facts.Version, Details: map[string]string{
		"ApiVersion": maxVersion.String(), "MinAPIVersion": minVersion.String(), "Os": runtime.GOOS, "Arch": runtime.GOARCH,
		"GitCommit": facts.GitCommit, "BuildTime": facts.BuildTime, "GoVersion": runtime.Version(), "KernelVersion": kernel,
		"Experimental": strconv.FormatBool(facts.Base.ExperimentalBuild),
	}}
	return writeJSON(w, http.StatusOK, system.VersionResponse{
		Platform:   system.PlatformInfo{Name: "Shoal"},
		Version:    facts.Version,
		APIVersion: maxVersion.String(), MinAPIVersion: minVersion.String(),
		Os: runtime.GOOS, Arch: runtime.GOARCH,
		Components: append([]system.ComponentVersion{engine}, facts.Components...),
		GitCommit:  facts.GitCommit, GoVersion: runtime.Version(), KernelVersion: kernel, BuildTime: facts.BuildTime,
		Experimental: facts.Base.ExperimentalBuild,
	})
}

func (s *Server) infoGet(w http.ResponseWriter, r *http.Request) error {
	info := s.cfg.Facts.Base
	fillHost(&info)
	if s.cfg.Counts != nil {
		n := s.cfg.Counts(r.Context())
		info.Containers = n.Running + n.Paused + n.Stopped
		info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = n.Running, n.Paused, n.Stopped
		info.Images, info.NEventsListener = n.Images, n.EventListeners
	}
	info.Swarm = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
	if s.cfg.Swarm != nil {
		info.Swarm = s.cfg.Swarm.Info(r.Context())
	}
	if info.Swarm.RemoteManagers == nil {
		info.Swarm.RemoteManagers = []swarm.Peer{}
	}
	info.ServerVersion = s.cfg.Facts.Version
	return writeJSON(w, http.StatusOK, info)
}
