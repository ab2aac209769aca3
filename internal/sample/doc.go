// Package sample makes small container images out of files and serves them from a registry in memory, so that a machine
// with no registry in reach can still pull. The quickstart, the playground and the end-to-end tests use it.
//
// Images go through the real pull path: what is served here is fetched, checked and unpacked as from any other registry.
// The registry knows no authentication: it listens on loopback, or inside a playground's own network.
package sample
