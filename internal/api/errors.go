package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/common"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// withStatus is an error of HTTP's own, which no class of errdefs stands for.
type withStatus struct {
	status int
	text   string
}

func (e *withStatus) Error() string { return e.text }

// errMethod answers a known path with a method that it does not have.
var errMethod = &withStatus{http.StatusMethodNotAllowed, "method not allowed"}

// errTooLarge answers a body over its limit.
func errTooLarge(limit int64) error {
	return &withStatus{http.StatusRequestEntityTooLarge, "request body too large: the limit is " + byteSize(limit)}
}

// Docker's sentences for a node that cannot answer for the swarm (tools match on them).
func errNoSwarm() error {
	return cluster.Errorf(errdefs.ErrUnavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
}

func errNoLeader() error {
	return cluster.Errorf(errdefs.ErrUnavailable, "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.")
}

// status maps an error's class to HTTP. It is Docker's map, in which a failed precondition is the caller's mistake (400)
// and a write on an old version is not (500). This function alone knows it.
func status(err error) int {
	var own *withStatus
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, store.ErrSequence):
		return http.StatusInternalServerError
	case errors.Is(err, store.ErrNotLeader), errdefs.IsUnavailable(err):
		return http.StatusServiceUnavailable
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsOutOfRange(err):
		return http.StatusBadRequest
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsAlreadyExists(err), errdefs.IsConflict(err):
		return http.StatusConflict
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotModified(err):
		return http.StatusNotModified
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented
	case errdefs.IsResourceExhausted(err), errors.Is(err, syscall.ENOSPC):
		return http.StatusInsufficientStorage // RFC 4918, 11.5: temporary, and nothing was stored
	}
	return http.StatusInternalServerError
}

// writeError answers with {"message": …}. Errors of the daemon's own making (500) are logged; the caller's are not.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	code := status(err)
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		s.log.Debug("client went away", "method", r.Method, "path", r.URL.Path)
	} else if (code == http.StatusInternalServerError || code == http.StatusInsufficientStorage) && !errors.Is(err, store.ErrSequence) {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if code == http.StatusNotModified { // has no body
		w.WriteHeader(code)
		return
	}
	writeMessage(w, code, err.Error())
}

func writeMessage(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(common.ErrorResponse{Message: text}) // the client may be gone
}
