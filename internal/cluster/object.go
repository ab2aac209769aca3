package cluster

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// Service is a stored service: the API's object and the spec its tasks should have.
type Service struct {
	swarm.Service
	// SpecID names the [Spec] of Service.Spec.TaskTemplate.
	SpecID string
	// PreviousSpecID names the [Spec] of Service.PreviousSpec, empty without one.
	PreviousSpecID string `json:",omitempty"`
	// UpdateFrom is the SpecID that a running update or rollback started from; empty when none has run.
	UpdateFrom string `json:",omitempty"`
	// Homes is the node of each slot of a sticky service; see reconcile.StickyLabel.
	Homes map[int]string `json:",omitempty"`
}

// Node is a stored node: the API's object, its certificate and what the data plane must know of it.
type Node struct {
	swarm.Node
	// DataAddr carries overlay traffic; the node's VTEP.
	DataAddr netip.Addr `json:",omitzero"`
	// Number is unique among the cluster's nodes, 1 to 4095, the lowest that was free: it names the node in firewall
	// marks and conntrack zones.
	Number uint16
	Cert   Certificate
	// Falls are the times at which the node went DOWN lately; a flapping node waits longer for new tasks.
	Falls []time.Time `json:",omitempty"`
	// Keys are the public keys that the node has made for encrypted networks, by network and generation.
	Keys []OwnKey `json:",omitempty"`
}

// Network is a stored swarm network.
type Network struct {
	swarm.Network
	// Leaving says that the network was removed while tasks were still ending in it; it goes with the last.
	Leaving bool                  `json:",omitempty"`
	VNI     uint32                `json:",omitempty"` // 0 for networks of the nodes' own
	Aux     map[string]netip.Addr `json:",omitempty"` // addresses never given out, by name (--aux-address)
	Keys    *KeyChange            `json:",omitempty"` // of an encrypted network; nil: it is not
}

// KeyChange says which generations of an encrypted network's keys are in use. The keys are the nodes' own.
type KeyChange struct {
	// Sends is the generation that packets are sent by. Other is one more that they are taken by while the keys change: a
	// newer one that the nodes get ready, or the one before; 0: none.
	Sends uint64
	Other uint64 `json:",omitempty"`
	// Moved is when Sends or Other changed last, Due when the next change shall begin. Ready is since when every node has
	// the newer keys of all others; zero: they have not.
	Moved time.Time
	Due   time.Time
	Ready time.Time `json:",omitzero"`
}

// Encrypts reads a network's options: the option's presence asks for encryption, whatever it says but "false".
func Encrypts(options map[string]string) bool {
	v, ok := options["encrypted"]
	return ok && v != "false"
}

// KeyPeriodOption is the option of an encrypted network that says how often its keys change, a duration of at least
// MinKeyPeriod.
const KeyPeriodOption = "shoal.rotate"

// The periods of keys.
const (
	DefaultKeyPeriod = 12 * time.Hour
	MinKeyPeriod     = time.Minute
)

// KeyPeriod is how often the network's keys change.
func (n *Network) KeyPeriod() time.Duration {
	if n.Spec.DriverConfiguration != nil {
		if d, err := time.ParseDuration(n.Spec.DriverConfiguration.Options[KeyPeriodOption]); err == nil && d >= MinKeyPeriod {
			return d
		}
	}
	return DefaultKeyPeriod
}

// Predefined says whether the network stands for one that every node has of its own: host, none or bridge.
func (n *Network) Predefined() bool { return n.Spec.Labels[PredefinedLabel] != "" }

// PredefinedLabel marks the networks that every node has of its own; listings leave them out.
const PredefinedLabel = "com.docker.swarm.predefined"

// Driver is the network's driver name; "overlay" when the spec names none.
func (n *Network) Driver() string {
	if n.Spec.DriverConfiguration == nil || n.Spec.DriverConfiguration.Name == "" {
		return "overlay"
	}
	return n.Spec.DriverConfiguration.Name
}

// Secret is a stored secret. ID, Meta and Spec come with the embedded type.
type Secret struct {
	swarm.Secret
	Lineage
}

// Config is a stored config.
type Config struct {
	swarm.Config
	Lineage
}

// Lineage is the place of a secret or config among those that had its name one after the other.
type Lineage struct {
	// Generation counts from 1; 0 is the first, too: it has never been rotated.
	Generation int `json:",omitempty"`
	// Superseded is the name that a newer generation has taken over; empty on the newest.
	Superseded string `json:",omitempty"`
}

// Cluster is the one object that describes the swarm itself.
type Cluster struct {
	swarm.Swarm
	Root RootCA
	// Removed holds the IDs of removed nodes until their certificates have expired; they are let in no more.
	Removed map[string]time.Time `json:",omitempty"`
	// UnlockKey is the key that managers seal their secrets with when AutoLockManagers is on; nil when it is off.
	UnlockKey []byte `json:",omitempty"`
}

// RootCA is the cluster's trust: who signs, and during a rotation who will.
type RootCA struct {
	Cert []byte // PEM; what nodes trust, the old and the new root during a rotation
	Key  []byte `json:",omitempty"` // PEM; empty with an external CA alone
	// Next is the root that a rotation moves to; nil when none is under way.
	Next *NextRoot `json:",omitempty"`
}

// NextRoot is the root CA that a running rotation moves the nodes to.
type NextRoot struct {
	Cert, Key   []byte // PEM
	CrossSigned []byte // PEM: Next's key, signed by the old root
}

// Certificate is a node's certificate and its issuing state.
type Certificate struct {
	Role    swarm.NodeRole `json:",omitempty"` // the role in the certificate that the node holds
	CSR     []byte         `json:",omitempty"` // PEM
	PEM     []byte         `json:",omitempty"` // the chain that was issued
	Expires time.Time      `json:",omitzero"`
}
