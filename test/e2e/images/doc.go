// Package images builds the images of the end-to-end tests: a toolbox in several versions, and a real Redis under the two tags
// of Docker's tutorial. It needs Debian's redis-server package on the host and no network.
package images
