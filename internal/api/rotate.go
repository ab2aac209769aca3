package api

import (
	"context"
	"net/http"

	"shoal/internal/controlplane"
)

// RotateRequest is the body of POST /shoal/secrets/{id}/rotate and /shoal/configs/{id}/rotate; the answer is a
// [controlplane.Rotation].
type RotateRequest struct {
	Data []byte // base64 in JSON
}

func (s *Server) secretRotate(w http.ResponseWriter, r *http.Request) error {
	return rotated(s, w, r, (*controlplane.Control).RotateSecret)
}

func (s *Server) configRotate(w http.ResponseWriter, r *http.Request) error {
	return rotated(s, w, r, (*controlplane.Control).RotateConfig)
}

// networkRotate answers POST /shoal/networks/{id}/rotate, which has no body, with a [controlplane.KeyRotation].
func (s *Server) networkRotate(w http.ResponseWriter, r *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	done, err := c.RotateNetwork(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, done)
}

func rotated(s *Server, w http.ResponseWriter, r *http.Request,
	rotate func(c *controlplane.Control, ctx context.Context, ref string, data []byte) (controlplane.Rotation, error),
) error {
	var body RotateRequest
	if err := decode(w, r, &body, dataLimit); err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	done, err := rotate(c, r.Context(), r.PathValue("id"), body.Data)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, done)
}
