// Package cli is everything that a user types: docker/cli's whole command tree, mounted on our root as it is, and Shoal's own
// words beside it (daemon, playground, quickstart, sample).
//
// The first word decides which tree is built. A word of ours never builds docker/cli's tree, so `shoal daemon` and the
// playground's small init start fast. The package decides nothing about clusters: a word either speaks the Docker Engine API
// like any other client or calls the package that does the work.
//
// It is the only package that prints to the terminal.
package cli
