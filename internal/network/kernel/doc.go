// Package kernel reads and changes what package plan describes, by netlink alone.
//
// It remembers open sockets, never state: [Kernel.Read] asks the kernel each time. [Kernel.Apply] does the operations in
// their order; those on one namespace's nftables are one transaction. It decides nothing.
package kernel
