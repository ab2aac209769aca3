package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"

	"shoal/internal/cluster"
)

// DecodeAuth reads an X-Registry-Auth header: base64 (URL alphabet, padded or not) of JSON. An empty one is no
// credentials. ErrInvalidArgument: it is neither.
func DecodeAuth(header string) (registry.AuthConfig, error) {
	var a registry.AuthConfig
	if header == "" {
		return a, nil
	}
	// Some clients send the standard alphabet, some no padding.
	raw, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(header, "=")))
	if err != nil {
		return a, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid X-Registry-Auth header: must be a valid base64url-encoded string")
	}
	if len(raw) == 0 || string(raw) == "null" {
		return a, nil
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return registry.AuthConfig{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid X-Registry-Auth header: %s", err)
	}
	return complete(a)
}

// complete splits the "auth" field, where user and password may stand as in Docker's config file.
func complete(a registry.AuthConfig) (registry.AuthConfig, error) {
	if a.Auth == "" || a.Username != "" || a.Password != "" {
		return a, nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Auth)
	user, password, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return registry.AuthConfig{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid X-Registry-Auth header: invalid auth field")
	}
	a.Username, a.Password, a.Auth = user, strings.TrimRight(password, "\x00"), ""
	return a, nil
}

// Login asks the registry in auth.ServerAddress (Docker Hub if empty) whether it takes the credentials. ErrUnauthenticated: it does
// not. ErrUnavailable: it could not be asked.
func (s *Store) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	addr := auth.ServerAddress
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		addr = u.Host
	}
	addr, _, _ = strings.Cut(addr, "/")
	if addr == "" || addr == hub || addr == "index.docker.io" {
		addr = hubHost
	}
	h := s.registries.host(addr, 0, nil)
	h.Authorizer = authorizer(auth, h.Client)
	for range 3 { // a challenge, the answer to it, and once more for a stale one
		done, err := tryLogin(ctx, h, auth)
		if err != nil {
			return registry.AuthResponse{}, err
		}
		if done {
			return registry.AuthResponse{Status: "Login Succeeded"}, nil
		}
	}
	return registry.AuthResponse{}, denied(addr)
}

func tryLogin(ctx context.Context, h docker.RegistryHost, auth registry.AuthConfig) (done bool, _ error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Scheme+"://"+h.Host+"/v2/", nil)
	if err != nil {
		return false, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid registry address %q", auth.ServerAddress)
	}
	if err := h.Authorizer.Authorize(ctx, req); err != nil {
		return false, fmt.Errorf("%w: %w", denied(h.Host), err)
	}
	res, err := h.Client.Do(req)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errdefs.ErrUnavailable, err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) //nolint:errcheck // only so that the connection is used again
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		if err := h.Authorizer.AddResponses(ctx, []*http.Response{res}); err != nil {
			return false, denied(h.Host)
		}
		return false, nil
	case res.StatusCode == http.StatusForbidden:
		return false, denied(h.Host)
	case res.StatusCode >= 300:
		return false, cluster.Errorf(errdefs.ErrUnavailable, "login attempt to %s://%s/v2/ failed with status: %s", h.Scheme, h.Host, res.Status)
	}
	return true, nil
}

func denied(host string) error {
	return cluster.Errorf(errdefs.ErrUnauthenticated, "Get %q: unauthorized: incorrect username or password", "https://"+host+"/v2/")
}
