package api

import "net/http"

func (s *Server) systemRoutes() []route                    { return nil }
func (s *Server) swarmRoutes() []route                     { return nil }
func (s *Server) networkRoutes() []route                   { return nil }
func setServerHeaders(w interface{ Header() http.Header }) {}
