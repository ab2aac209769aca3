package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/controlplane"
)

// TestRotate: both nouns, the refusal in Docker's form, and the name leading to the new generation.
func TestRotate(t *testing.T) {
	r := newRig(t, nil)
	made, err := r.SecretCreate(t.Context(), client.SecretCreateOptions{
		Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}, Data: []byte("one")},
	})
	if err != nil {
		t.Fatal(err)
	}
	status, body := r.call(t, "POST", "/shoal/secrets/pw/rotate", `{"Data":"dHdv"}`)
	var done controlplane.Rotation
	if err := json.Unmarshal([]byte(body), &done); err != nil || status != http.StatusOK || done.Generation != 2 {
		t.Fatalf("rotate: %d %s, %v", status, body, err)
	}
	got, err := r.SecretInspect(t.Context(), "pw", client.SecretInspectOptions{})
	if err != nil || got.Secret.ID != done.ID || got.Secret.ID == made.ID {
		t.Errorf("after the rotation: %+v, %v", got.Secret, err)
	}
	if status, body := r.call(t, "POST", "/shoal/configs/no/rotate", `{"Data":"dHdv"}`); status != 404 || !strings.Contains(body, "config no not found") {
		t.Errorf("rotate of no config: %d %s", status, body)
	}
}
