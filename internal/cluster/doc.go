// Package cluster is the leaf of the import tree: the stored and sent types that the Docker API lacks.
//
// Whatever the Docker API has a Go type for is stored as that type. The types here either embed one and add what
// only the cluster needs to remember (a node's certificate, a network's VNI), or are smaller than the API's type on
// purpose: a [Task] names its spec by digest, so that a hundred thousand tasks of ten services hold ten specs.
//
// The package decides nothing and does no I/O; [NewID] alone reads randomness.
package cluster
