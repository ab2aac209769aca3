// Package plan says what a node's kernel should hold of ours, and what separates it from what it holds.
//
// It is pure: [Overlay], [Host] and [Container] turn the cluster's network state and the node's own facts into
// namespaces, links, addresses, routes, neighbours and nftables tables as data; [Diff] turns two such states into
// operations that print as ip(8) and nft(8) lines. It asks nothing and changes nothing: package kernel does both.
//
//	ops := plan.Diff(have, want)   // add element ip shoal vips { 10.0.9.2 : goto of3 } …
package plan
