// Package api serves the Docker Engine API: one route table, version negotiation, decoding, encoding and streams.
//
// It decides nothing about the swarm or about containers. A request goes through the recovery and log wrapper, the
// version check and the route table to a handler, which decodes it, calls one verb (of internal/controlplane for the
// swarm's objects, of the engine for the node's) and encodes the answer. What the package reads of the daemon it
// declares as interfaces; all of them are fields of [Config].
//
// Routes of the swarm's objects are answered by the leader: on a follower they go to it as they came, through
// [Swarm.Leader]. Routes of the node's own objects are always answered here.
//
//	http.Serve(listener, api.New(api.Config{Swarm: d, Log: log}))
package api
