package cluster

// Version names this build. The Makefile stamps it with `git describe`; a plain `go build` leaves "dev".
var Version = "dev"
