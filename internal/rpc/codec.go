package rpc

import "shoal/internal/cluster"

// codec carries the Go types themselves, in the one encoding of the cluster.
type codec struct{}

// Name is the content subtype on the wire.
func (codec) Name() string { return "cbor" }

func (codec) Marshal(v any) ([]byte, error)   { return cluster.Marshal(v) }
func (codec) Unmarshal(b []byte, v any) error { return cluster.Unmarshal(b, v) }
