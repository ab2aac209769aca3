package image

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Namespace is the containerd namespace that holds the images.
const Namespace = "shoal"

// Snapshotter is the containerd snapshotter that images are unpacked into.
const Snapshotter = "overlayfs"

// Config says what a store works with.
type Config struct {
	// Client gives the present connection to containerd, which may be restarted at any time. Required.
	Client func() *client.Client
	// Mirrors are URLs of registries that are asked before Docker Hub, in their order (--registry-mirror).
	Mirrors []string
	// Insecure are registries that may be spoken to over plain HTTP or with an unknown certificate: host, host:port or
	// CIDR (--insecure-registry). Loopback addresses always may.
	Insecure []string
	// Users says which containers use the image with this ID; optional. It is called without any lock held.
	Users func(id string) []User
	// Event is told what happened to an image: pull, tag, untag, delete, load, push, save; optional.
	Event func(action events.Action, id string, attributes map[string]string)
	Log   *slog.Logger // optional
}

// User is a container that uses an image.
type User struct {
	ContainerID string
	Running     bool
}

// Store is the node's images. All methods may be called concurrently.
type Store struct {
	cfg        Config
	registries registries
	log        *slog.Logger
	pulls      flights

	mu      sync.Mutex
	details map[digest.Digest]*detail // by target digest; content never changes under a digest
	absent  map[string]time.Time      // names that no registry gave us, and until when that is believed
}

// Image is an image that is present and unpacked.
type Image struct {
	ID     string             // digest of the configuration, "sha256:…"
	Name   string             // the record's name in containerd
	Target ocispec.Descriptor // what the name points to: a manifest or an index
	Config dockerspec.DockerOCIImage
	// Handle is containerd's view of it, for snapshots: client.WithNewSnapshot(id, img.Handle).
	Handle client.Image
}

// Progress is told how a long operation goes, in the messages that Docker's clients draw bars from. It may be called
// from several goroutines, one at a time.
type Progress func(jsonstream.Message)

// New returns a store. It contacts nobody. ErrInvalidArgument: a mirror or an insecure registry cannot be parsed.
func New(cfg Config) (*Store, error) {
	r, err := newRegistries(cfg.Mirrors, cfg.Insecure)
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Users == nil {
		cfg.Users = func(string) []User { return nil }
	}
	if cfg.Event == nil {
		cfg.Event = func(events.Action, string, map[string]string) {}
	}
	return &Store{cfg: cfg, registries: r, log: cfg.Log, details: map[digest.Digest]*detail{}, absent: map[string]time.Time{}}, nil
}

func (s *Store) client(ctx context.Context) (context.Context, *client.Client) {
	return namespaces.WithNamespace(ctx, Namespace), s.cfg.Client()
}
