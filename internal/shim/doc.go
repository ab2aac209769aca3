// Package shim is what stays beside a container when the daemon and containerd go: containerd's own runc shim with
// three things added. It writes the container's log (json-file, rotated), it writes how the container ended to a
// file before it tells anybody, and it serves the container's streams on a socket for attach.
//
// Each container has one shim process, started by containerd as `containerd-shim-shoal-v1`. What it should do beside
// running the container stands in the OCI spec's annotation [wire.Annotation]; package wire documents the files and
// the socket. A spec without the annotation is run as containerd's shim would.
//
// A log that cannot be written (a full disk) neither stops nor slows the container: lines are dropped and counted, the
// count goes into the exit record. Lines that are read but not yet written are lost when the shim itself is killed.
//
// The same binary is also the init of containers made with --init (see [Init]), so that nothing more has to be
// installed. It must start fast, since every container start runs it twice: it imports nothing of the daemon.
package shim
