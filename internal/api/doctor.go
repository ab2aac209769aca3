package api

import (
	"net/http"
)

// doctorRoutes are the node's own examinations: GET looks, POST repairs too.
func (s *Server) doctorRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/shoal/doctor/network", handler: s.doctorNetwork},
		{method: http.MethodPost, pattern: "/shoal/doctor/network", handler: s.doctorNetwork},
	}
}

func (s *Server) doctorNetwork(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.AuditNetwork == nil {
		return errNoPart("the network's doctor")
	}
	a, err := s.cfg.AuditNetwork(r.Context(), r.Method == http.MethodPost)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a)
}
