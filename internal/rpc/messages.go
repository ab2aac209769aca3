package rpc

import (
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Empty is a message that says nothing.
type Empty struct{}

// RootReply is the roots to trust, as PEM.
type RootReply struct{ Root []byte }

// IssueRequest asks for a node certificate. With a token a new node joins; with the caller's certificate (of the
// connection) the caller gets a new one for the role that the store gives it.
type IssueRequest struct {
	CSR          []byte                 // PEM
	Token        string                 `json:",omitempty"`
	Availability swarm.NodeAvailability `json:",omitempty"`
	// Addr is where others reach the node, an IP address; empty: where the call comes from. A DataAddr other than that
	// carries its overlay traffic.
	Addr, DataAddr string `json:",omitempty"`
	Hostname       string `json:",omitempty"`
}

// IssueReply is the certificate and whom it is for.
type IssueReply struct {
	NodeID string
	Role   swarm.NodeRole
	Chain  []byte // PEM
	Root   []byte // PEM: the roots to trust
}

// JoinRequest asks to become a member of the Raft group: first without a vote, then, when the caller has caught up with
// JoinReply.Index, with one.
type JoinRequest struct {
	Addr  string // host:port where other managers reach the caller
	Voter bool
}

// JoinReply says who the managers are and which store index the leader is at.
type JoinReply struct {
	Leader string // node ID
	Peers  []swarm.Peer
	Index  uint64
}

// LeaderReply says who leads; both are empty while nobody does.
type LeaderReply struct {
	ID, Addr string
	Managers []swarm.Peer
	Index    uint64 // the store's, as the manager that answers has applied it
}

// ProbeRequest asks a manager to try whether a machine lives, by a TCP connect.
type ProbeRequest struct{ Addr string }

// ProbeReply says whether the machine answered or refused.
type ProbeReply struct{ Alive bool }

// DetachRequest gives back places of the caller's plain containers, by the tasks that stand for them.
type DetachRequest struct{ TaskIDs []string }

// PlacesReply is the places that the store has of the caller's plain containers.
type PlacesReply struct {
	Places []cluster.Place `json:",omitempty"`
}

// NetworksReply is the networks of the swarm that the caller may know of.
type NetworksReply struct {
	Networks []network.Inspect `json:",omitempty"`
}

// Frame is a piece of a relayed byte stream.
type Frame struct {
	Call string `json:",omitempty"` // first frame from the node: which call this answers
	Data []byte `json:",omitempty"`
}
