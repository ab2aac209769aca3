package api

import (
	"net/http"

	"github.com/moby/moby/api/types/registry"
)

// login checks credentials with their registry. Nothing is kept: clients send them along with each request.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	var auth registry.AuthConfig
	if err := decode(w, r, &auth, bodyLimit); err != nil {
		return err
	}
	st, err := s.images()
	if err != nil {
		return err
	}
	answer, err := st.Login(r.Context(), auth)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}
