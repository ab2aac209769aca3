package api

// Local is what the routes of the node's own objects need.
type Local struct{}

func (s *Server) localRoutes() []route { return nil }
