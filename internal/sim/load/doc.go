// Package load is the rig of `shoal simulate`: it puts a real control plane under load and takes its figures from outside.
//
// What is real: managers in processes of their own, with their Raft logs on disk and fsynced, mutual TLS on their ports,
// and the Docker API on their sockets; agents that join with a token, hold their sessions and report every status; a
// client that speaks HTTP. What is not: containers. An [Executor] only remembers what it was told, and there is no data
// plane.
//
// The package decides what is asked for and what is measured. It starts processes by a command line that is given to it,
// kills only those, and leaves nothing behind. It is for the command alone: no part of a node imports it.
package load
