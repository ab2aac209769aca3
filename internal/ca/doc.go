// Package ca is the cluster's trust: the root, join tokens, node certificates, their renewal and the rotation of the root.
//
// A node's certificate names it: CN is the node's ID, O the cluster's, OU its role. All keys are ECDSA P-256, all
// connections TLS 1.3. What a node holds lies in two files ([Files]) and is used through an [Identity], from which every
// TLS handshake reads the newest certificate and roots: a renewal needs no restart.
//
// The package decides who is who, never who may call what (package rpc does), and it never writes the store: functions
// over [cluster.RootCA] and [cluster.Cluster] return changed values. The time is an argument wherever a decision hangs
// on it.
//
//	certPEM, keyPEM, err := ca.NewRoot(now)
//	root, err := ca.ParseRoot(certPEM, keyPEM)
//	key, csr, err := ca.NewRequest()
//	chain, err := root.Sign(csr, ca.Subject{NodeID: id, ClusterID: cid, Role: swarm.NodeRoleWorker}, ca.DefaultExpiry, now)
package ca
