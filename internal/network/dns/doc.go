// Package dns answers the containers of one node.
//
// It listens in each network's namespace and knows the asker by its address, which names the networks whose names it may
// see. What it does not know it asks of the asker's upstream servers. It answers from an immutable [View] that the owner
// replaces; it never decides which task is live, and keeps nothing of what upstream says.
package dns
