package rpc

import (
	"context"
)

// Reach says whether a machine lives, by its port 2377 (host:port): this manager tries, and the others are asked to, so
// that one broken link is not taken for a dead machine. It is what dispatch.Config.Reach wants.
func (s *Server) Reach(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTime)
	defer cancel()
	self := s.config.Identity.Subject().NodeID
	others := Managers(s.config.Store.View())
	answers := make(chan bool, len(others)+1)
	asked := 1
	go func() { answers <- Alive(ctx, addr) }()
	for _, p := range others {
		if p.NodeID == self || p.Addr == addr {
			continue
		}
		asked++
		go func() {
			client, err := s.dialer.get(ctx, p.Addr)
			if err != nil {
				answers <- false
				return
			}
			alive, err := client.Probe(ctx, addr)
			answers <- err == nil && alive
		}()
	}
	for range asked {
		if <-answers {
			return true
		}
	}
	return false
}
