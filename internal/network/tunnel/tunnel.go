package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"shoal/internal/network/plan"
)

// The UDP ports of devices: the first one that is free. They lie below the range that clients' ports are taken from, and
// below the mesh's dynamic ports.
const (
	FirstPort = 24789
	LastPort  = 25044
)

// keepalive is how often an idle peer is sent an empty packet, in seconds. It keeps a session up, so that the first packet
// of a connection never waits for a handshake, and makes a new peer shake hands at once.
const keepalive = 25

// Mode says where devices are made.
type Mode string

// The modes. Auto is the kernel's device where the kernel has it.
const (
	Auto      Mode = "auto"
	Kernel    Mode = "kernel"
	Userspace Mode = "userspace"
)

// Spaces is how network namespaces are entered.
type Spaces interface {
	// In runs do on a thread in the namespace.
	In(ns plan.NS, do func() error) error
	// Path is where a namespace is pinned.
	Path(ns plan.NS) string
}

// Config is what devices are made with. Dir, Spaces and Lost must be set.
type Config struct {
	Dir    string // of the control sockets
	Spaces Spaces
	Mode   Mode // empty: Auto
	// Command runs a device's process: its arguments are passed to Main. nil: this program with the argument Word.
	Command []string
	// Memory bounds what a device's process holds, in bytes; 0: 384 MiB. Processors bounds how many run it; 0: all.
	Memory     int64
	Processors int
	// Lost is called when a device's process has ended without being asked to.
	Lost func(ns plan.NS, name string)
	Log  *slog.Logger
}

// Tunnels is the devices of one node. Its methods may be called from many goroutines.
type Tunnels struct {
	config Config

	mu       sync.Mutex
	lacks    bool // the kernel has no WireGuard
	watching map[place]*watch
	publics  map[place]string // the devices' own keys
	closed   bool
	over     chan struct{} // closed with it

	// change is held over a change of a kernel's device that goes by what was read of it.
	change sync.Mutex
}

// place names a device.
type place struct {
	ns   plan.NS
	name string
}

// New returns the devices below config.Dir: those that an earlier daemon made too.
func New(config Config) (*Tunnels, error) {
	if config.Command == nil {
		config.Command = []string{"/proc/self/exe", Word}
	}
	if config.Memory == 0 {
		config.Memory = 384 << 20
	}
	switch config.Mode {
	case "":
		config.Mode = Auto
	case Auto, Kernel, Userspace:
	default:
		return nil, fmt.Errorf("unknown way to make WireGuard devices %q: want auto, kernel or userspace", config.Mode)
	}
	return &Tunnels{config: config, watching: map[place]*watch{}, publics: map[place]string{}, over: make(chan struct{})}, nil
}

func (t *Tunnels) socket(d place) string {
	return filepath.Join(t.config.Dir, string(d.ns)+"."+d.name)
}

// Create makes a device with a new key pair and a port of its own, and brings it up. One that is there and answers is
// kept.
func (t *Tunnels) Create(ns plan.NS, name string, mtu int) error {
	d := place{ns, name}
	if _, err := t.Read(ns, name); err == nil {
		return t.setMTU(d, mtu)
	}
	if t.config.Mode != Userspace && !t.knownToLack() {
		err := t.createInKernel(d, mtu)
		if !errors.Is(err, errLacks) || t.config.Mode == Kernel {
			return err
		}
		t.mu.Lock()
		t.lacks = true
		t.mu.Unlock()
		t.config.Log.Info("this kernel has no WireGuard: encrypted networks take a process each, which is slower", "device", name)
	}
	return t.createProcess(d, mtu)
}

func (t *Tunnels) knownToLack() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lacks
}

// Remove takes a device down with its key. One that is gone is no error.
func (t *Tunnels) Remove(ns plan.NS, name string) error {
	d := place{ns, name}
	t.mu.Lock()
	w := t.watching[d]
	delete(t.watching, d)
	delete(t.publics, d)
	t.mu.Unlock()
	if w != nil {
		w.end()
	}
	err := t.removeLink(d) // a process ends with its link
	if e := os.Remove(t.socket(d)); e != nil && !os.IsNotExist(e) {
		err = errors.Join(err, e)
	}
	return err
}

// Device is what one holds.
type Device struct {
	Public  string // its own key, base64
	Port    uint16
	Peers   map[plan.Remote]netip.AddrPort
	Allowed map[plan.Allowed]string
}

// Read asks a device. An error says that there is none that answers.
func (t *Tunnels) Read(ns plan.NS, name string) (Device, error) {
	d := place{ns, name}
	if _, err := os.Lstat(t.socket(d)); err == nil {
		return t.readProcess(d)
	}
	return t.readKernel(d)
}

// publicOf is a device's own key.
func (t *Tunnels) publicOf(d place) (string, error) {
	t.mu.Lock()
	public := t.publics[d]
	t.mu.Unlock()
	if public != "" {
		return public, nil
	}
	have, err := t.Read(d.ns, d.name)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publics[d] = have.Public
	return have.Public, nil
}

// Change does operations on peers and their addresses, all of one device, in their order.
func (t *Tunnels) Change(ns plan.NS, name string, ops []plan.Op) error {
	d := place{ns, name}
	if _, err := os.Lstat(t.socket(d)); err == nil {
		return t.changeProcess(d, ops)
	}
	return t.changeKernel(d, ops)
}

// Retain ends the processes of devices in namespaces that are gone.
func (t *Tunnels) Retain(exists func(plan.NS) bool) error {
	entries, err := os.ReadDir(t.config.Dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		d, ok := parse(e.Name())
		if !ok || exists(d.ns) {
			continue
		}
		_, _ = t.ask(d, "stop=1\n\n") // nobody answers when its process is gone
		if err := os.Remove(t.socket(d)); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func parse(file string) (place, bool) {
	name := filepath.Ext(file)
	if len(name) < 2 {
		return place{}, false
	}
	return place{plan.NS(file[:len(file)-len(name)]), name[1:]}, true
}

// Close stops watching the devices, which go on.
func (t *Tunnels) Close() {
	t.mu.Lock()
	if !t.closed {
		close(t.over)
	}
	t.closed = true
	list := t.watching
	t.watching = map[place]*watch{}
	t.mu.Unlock()
	for _, w := range list {
		w.end()
	}
}
