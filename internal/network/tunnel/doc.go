// Package tunnel makes WireGuard devices inside network namespaces and configures them: the kernel's where the kernel has
// them, and otherwise a process of ours for each, which outlives the daemon as containers do.
//
// A device's UDP socket lies in the host's namespace. Its private key is made with it and never leaves it: neither this
// package nor the daemon can read it back, and nothing writes it to a disk. What a device should know of others comes as
// operations of package plan; who those others are is decided elsewhere.
package tunnel
