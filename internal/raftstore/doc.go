// Package raftstore replicates the store: it is the [store.Proposer] that a cluster of managers has, by
// hashicorp/raft over a write-ahead log that is fsynced before anything is acknowledged.
//
// It decides in what order entries apply, who leads, and who votes. It never looks into an entry, and it calls
// nobody but Raft's peers: what follows from gaining or losing the lead is for the reader of [Node.LeaderCh] to do.
//
// What is below Config.Dir is all it keeps: the log (wal/), the snapshots (snapshots/), and the marker that says which
// of them are sealed. With a [Sealer] both are unreadable without the data key; Raft's own small state (term, vote) is
// not secret and stays plain.
package raftstore
