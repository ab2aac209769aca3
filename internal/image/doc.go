// Package image holds this node's images in containerd and moves them to and from registries and archives.
//
// It decides what a name means (docker.io/library/x:latest for "x"), which registries are asked, in which order and
// over which scheme, when a present image is good enough for a task, and which records go when an image is removed.
// It never runs a container, and it does not know which ones exist: who uses an image is said by [Config].Users.
//
// Every image is one containerd record under its normalised name. A name pinned by digest (x@sha256:…) is a record of
// its own; an image that lost its last name while something holds it is kept under [danglingPrefix] and its digest.
// An image's ID is the digest of its configuration, as people know it from `docker images`, whichever manifest led to it.
package image
