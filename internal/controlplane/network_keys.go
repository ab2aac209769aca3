package controlplane

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// KeyRotation is what a change of an encrypted network's keys was asked for.
type KeyRotation struct {
	Generation uint64 // of the keys that the network moves to
}

// RotateNetwork has all nodes of an encrypted network make new keys and move to them; no packet is lost, and it takes about
// a quarter of a minute. While a change is under way it begins no other. ErrNotFound: there is no such network;
// ErrFailedPrecondition: it is not encrypted.
func (c *Control) RotateNetwork(ctx context.Context, ref string) (KeyRotation, error) {
	var done KeyRotation
	return done, c.update(ctx, func(tx *store.Tx) error {
		found, err := findNetwork(tx, ref)
		if err != nil {
			return err
		}
		if found.Keys == nil {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "network %s is not encrypted: it has no keys", found.Spec.Name)
		}
		done.Generation = max(found.Keys.Sends, found.Keys.Other)
		if found.Keys.Other != 0 {
			return nil
		}
		done.Generation++
		n, keys := *found, *found.Keys
		keys.Due = tx.Now()
		n.Keys = &keys
		store.Networks.Put(tx, &n)
		return nil
	})
}

func checkKeyPeriod(options map[string]string) error {
	text, ok := options[cluster.KeyPeriodOption]
	if !ok {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d < cluster.MinKeyPeriod {
		return invalid("option %s=%s: want a duration of at least %s, such as 12h", cluster.KeyPeriodOption, text, cluster.MinKeyPeriod)
	}
	if !cluster.Encrypts(options) {
		return invalid("option %s is for encrypted networks: add --opt encrypted", cluster.KeyPeriodOption)
	}
	return nil
}

// keysOption is what inspect shows of an encrypted network's keys.
const keysOption = "shoal.keys"

func keysText(k *cluster.KeyChange) string {
	switch {
	case k.Other > k.Sends:
		return fmt.Sprintf("generation %d, changing to %d", k.Sends, k.Other)
	case k.Other != 0:
		return fmt.Sprintf("generation %d, leaving %d", k.Sends, k.Other)
	}
	return fmt.Sprintf("generation %d", k.Sends)
}
