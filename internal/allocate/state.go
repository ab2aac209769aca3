package allocate

import (
	"iter"
	"net/netip"

	"shoal/internal/cluster"
)

// Config is where subnets come from.
type Config struct {
	Pools      []netip.Prefix // default address pools; none: 10.0.0.0/8
	SubnetSize int            // prefix length of subnets taken from the pools; 0: 24
}

// State knows what is in use.
type State struct{}

// New takes stock of the stored objects. specs finds an interned spec, nil when unknown.
func New(cfg Config, networks iter.Seq[*cluster.Network], services iter.Seq[*cluster.Service], tasks iter.Seq[*cluster.Task]) *State {
	return &State{}
}

// AddNetwork, AddService and AddTask book what a stored object holds; the Release methods give it back. Both are
// idempotent per address for the same object.
func (s *State) AddNetwork(n *cluster.Network)      {}
func (s *State) AddService(svc *cluster.Service)    {}
func (s *State) AddTask(t *cluster.Task)            {}
func (s *State) ReleaseNetwork(n *cluster.Network)  {}
func (s *State) ReleaseService(s2 *cluster.Service) {}
func (s *State) ReleaseTask(t *cluster.Task)        {}

// Network fills n's VNI, IPAMOptions and DriverState where they are missing (n is the caller's own copy).
func (s *State) Network(n *cluster.Network) error { return nil }

// Service fills svc.Endpoint from svc.Spec: published ports and virtual IPs, keeping those it has (svc is the caller's
// own copy), and gives back what it no longer needs. Call it when Endpoint may be behind Spec; it is cheap when it is not.
func (s *State) Service(svc *cluster.Service) error { return nil }

// Task fills t.Attachments and t.Ports from its spec and service (t is the caller's own copy). On an error nothing is
// taken; its text is for Status.Err, the task stays NEW.
func (s *State) Task(t *cluster.Task, svc *cluster.Service, spec *cluster.Spec) error { return nil }

// Attach gives a plain container an address in a network. want asks for that address; the zero Addr for any.
func (s *State) Attach(networkID string, want netip.Addr, aliases []string) (cluster.Attachment, error) {
	return cluster.Attachment{}, nil
}

// NodeNumber is the lowest number from 1 to 4095 that no node has.
func NodeNumber(nodes iter.Seq[*cluster.Node]) (uint16, error) { return 0, nil }
