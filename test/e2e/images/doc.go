// Package images builds the images of the end-to-end tests: a toolbox in several versions, a real Redis under the two tags
// of Docker's tutorial (two builds of Debian's, while it has two), and a real PostgreSQL. It needs Debian's packages of them
// on the host and no network.
package images
