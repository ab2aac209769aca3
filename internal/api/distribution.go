package api

import (
	"net/http"

	"github.com/moby/moby/api/types/registry"
)

// distribution tells what a name leads to in its registry; clients pin services by it.
func (s *Server) distribution(w http.ResponseWriter, r *http.Request) error {
	st, err := s.images()
	if err != nil {
		return err
	}
	d, err := st.Distribution(r.Context(), r.PathValue("name"), r.Header.Get(registry.AuthHeader))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d)
}
