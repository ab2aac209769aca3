// Package engine runs containers on this node: tasks of the cluster and plain ones of `docker run`, by the same code.
//
// A task's spec is turned into the same container.Config and container.HostConfig that a client of the Docker API
// sends (task.go), and one pure function turns those two and the image's configuration into an OCI spec (spec.go).
// The engine prepares what the spec names (snapshot, files, mounts, network), hands it to containerd and follows the
// container's life: health, restarts, exit.
//
// Truth is elsewhere: a container's wishes are in DATA/containers/<id>/container.json, whether it runs is
// containerd's to say, how it ended stands in exit.json, which the shim writes. [New] reads all three, so a daemon
// that was killed continues where the containers are, not where it was.
//
// The engine decides nothing about the cluster: which task runs here, and whether a failed one is replaced, is said
// by others. It never speaks HTTP.
package engine
