// Package volume keeps the node's volumes: directories under DIR/<name>/_data, or what mount(2) puts there.
//
// It decides what a volume name may be, when a volume with options is mounted (at its first user) and unmounted (at
// its last), and which volumes a prune takes. It does not know containers: whether a volume is in use is said by the
// function given to [Store.SetInUse]. Cluster volumes (CSI) and volume plugins are not handled; asking for one is
// ErrNotImplemented or ErrNotFound.
package volume
