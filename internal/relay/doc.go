// Package relay carries any task's streams (logs, exec, stats, inspect) from a manager to the node that has the task.
//
// A manager never dials a worker: it asks down the node's session for a call, the node opens one gRPC stream back, and
// over that stream the manager speaks HTTP/1.1 to the node's own API handler. So whatever the node's API can do, upgrades
// to raw streams included, a manager can do there.
//
// The package decides nothing: which node, which path is the caller's. It forgets a call whose node does not answer
// within [AnswerTime].
//
//	client := &http.Client{Transport: relay.Transport(nodeID)}
//	resp, err := client.Get("http://node/containers/" + id + "/logs?stdout=1")
package relay
