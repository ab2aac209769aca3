package playground

import "net/netip"

// registryPort is where the switch's image registry listens.
const registryPort = 5000

// Registry is the address of the playground's image registry, which every daemon also asks as its mirror of Docker Hub. It is
// an address only: somebody has to serve there, on the switch.
func (p *Playground) Registry() string {
	return netip.AddrPortFrom(p.address(switchHost), registryPort).String()
}
