// Package torture breaks one machine on purpose and looks at what is left: kill -9 of the daemon and of containerd at any
// moment while clients work, a disk that is full, and requests that no client should send. Its tests stand on one machine
// of a playground, with the real daemon, containerd and containers in it.
//
//	go test ./test/torture/...                          the short form (root; binaries in bin/, see make build)
//	SHOAL_TORTURE_KILLS=50 go test ./test/torture/...   the long form
//	SHOAL_TORTURE_SEED=7 go test ./test/torture/...     the moments of an earlier run, as it printed them
//
// SHOAL_BIN names another folder for the binaries. Nothing is left after a run: the machine's processes, mounts and links end
// with its namespaces, even when the test is killed.
package torture
