package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Config is what one daemon is started with. Every field has a dockerd flag name and, in --config-file, the same key as
// dockerd's daemon.json, so that units and files carry over.
type Config struct {
	Hosts       []string // unix:///path or tcp://address:port
	DataRoot    string   // holds what must survive a reboot
	ExecRoot    string   // holds sockets and other state of this boot
	PidFile     string   // written at start, removed at the end; empty: none
	ConfigFile  string
	Labels      []string // key=value, the engine labels of this node
	Containerd  string   // socket of a containerd to use instead of our own
	Insecure    []string // registries spoken to over plain HTTP or unverified TLS: host[:port] or CIDR
	Mirrors     []string // asked before Docker Hub
	AddrPools   []AddrPool
	Advertise   string // address or interface that `swarm init` and `swarm join` advertise by default
	MoveTo      string // address or interface to advertise from now on, by a node that is in a swarm too
	MetricsAddr string
	LogLevel    string
	Debug       bool
	MTU         int // of the node's links; 0: measured
	DNS         []string
	TLS         TLS
	Generic     []string      // KIND=NUMBER or KIND=NAME: the generic resources of this node
	Shutdown    time.Duration // how long the daemon waits for its parts at the end
	Tunnel      Tunnel        // of encrypted networks
	Zones       bool          // conntrack zones for the mesh's return path (ARCHITECTURE.md, network)
	BinDir      string        // where containerd, runc and the shim are; empty: beside this binary
}

// AddrPool is one --default-address-pool: networks of 1<<(32-Size) addresses are cut out of Base.
type AddrPool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"`
}

// Tunnel is how the devices of encrypted networks are made: in the kernel, or as a process each, which holds so many bytes
// and runs on so many processors; 0: a default, and all.
type Tunnel struct {
	Mode       string
	Memory     int64
	Processors int
}

// TLS is how TCP hosts are protected.
type TLS struct {
	On, Verify    bool
	CA, Cert, Key string
}

// Defaults returns what the daemon runs with when no flag is given.
func Defaults() Config {
	return Config{
		DataRoot: "/var/lib/shoal", ExecRoot: "/run/shoal", PidFile: "/run/shoal.pid", ConfigFile: "/etc/shoal/daemon.json",
		LogLevel: "info", Shutdown: 15 * time.Second, Zones: true, Tunnel: Tunnel{Mode: "auto", Memory: 384 << 20},
	}
}

// ignored are dockerd's flags that mean nothing here. They are accepted, with a warning, so that units carry over.
var ignored = []string{
	"storage-driver", "storage-opt", "userland-proxy", "userland-proxy-path", "graph", "iptables", "ip6tables", "ip-masq", "ip-forward",
	"live-restore", "experimental", "cgroup-parent", "exec-opt", "bip", "fixed-cidr", "icc", "selinux-enabled", "default-runtime",
	"containerd-namespace", "seccomp-profile", "group", "max-concurrent-downloads", "max-concurrent-uploads", "init-path",
}

// Flags binds dockerd's flag names to c.
func (c *Config) Flags(f *pflag.FlagSet) {
	f.StringArrayVarP(&c.Hosts, "host", "H", c.Hosts, "Daemon socket to serve (repeatable): unix:///path or tcp://address:port")
	f.StringVar(&c.DataRoot, "data-root", c.DataRoot, "Folder that holds the node's state")
	f.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "Folder for sockets and other state of this boot")
	f.StringVarP(&c.PidFile, "pidfile", "p", c.PidFile, "File to write the daemon's process ID to")
	f.StringVar(&c.ConfigFile, "config-file", c.ConfigFile, "JSON file with flags as keys")
	f.StringArrayVar(&c.Labels, "label", c.Labels, "Engine label of this node, key=value (repeatable)")
	f.StringVar(&c.Containerd, "containerd", c.Containerd, "Socket of a containerd to use instead of a private one")
	f.StringArrayVar(&c.Insecure, "insecure-registry", c.Insecure, "Registry to speak to without verified TLS: host[:port] or CIDR (repeatable)")
	f.StringArrayVar(&c.Mirrors, "registry-mirror", c.Mirrors, "Mirror of Docker Hub to ask first (repeatable)")
	f.Var((*poolFlag)(&c.AddrPools), "default-address-pool", "Pool for networks of this node: base=CIDR,size=BITS (repeatable)")
	f.StringVar(&c.Advertise, "swarm-default-advertise-addr", c.Advertise, "Address or interface to advertise to the swarm by default")
	f.StringVar(&c.MoveTo, "swarm-advertise-addr", c.MoveTo, "Address or interface to advertise to the swarm from now on, whatever it was before")
	f.StringVar(&c.MetricsAddr, "metrics-addr", c.MetricsAddr, "Address to serve Prometheus metrics on")
	f.StringVarP(&c.LogLevel, "log-level", "l", c.LogLevel, "debug, info, warn or error")
	f.BoolVarP(&c.Debug, "debug", "D", c.Debug, "Log at debug level")
	f.IntVar(&c.MTU, "mtu", c.MTU, "MTU of the node's container links; 0: measured")
	f.StringArrayVar(&c.DNS, "dns", c.DNS, "Name server for containers (repeatable)")
	f.BoolVar(&c.TLS.On, "tls", c.TLS.On, "Use TLS on TCP hosts")
	f.BoolVar(&c.TLS.Verify, "tlsverify", c.TLS.Verify, "Use TLS on TCP hosts and demand a client certificate")
	f.StringVar(&c.TLS.CA, "tlscacert", c.TLS.CA, "CA that client certificates must come from")
	f.StringVar(&c.TLS.Cert, "tlscert", c.TLS.Cert, "Certificate of TCP hosts")
	f.StringVar(&c.TLS.Key, "tlskey", c.TLS.Key, "Key of TCP hosts")
	f.StringArrayVar(&c.Generic, "node-generic-resource", c.Generic, "Generic resource of this node, KIND=NUMBER or KIND=NAME (repeatable)")
	f.DurationVar(&c.Shutdown, "shutdown-timeout", c.Shutdown, "How long to wait for the daemon's parts at the end")
	f.BoolVar(&c.Zones, "mesh-zones", c.Zones, "Keep clients apart that use one source port through two nodes")
	f.StringVar(&c.Tunnel.Mode, "wireguard", c.Tunnel.Mode, "Where devices of encrypted networks are made: kernel, userspace, or auto for the kernel's if it has them")
	f.Int64Var(&c.Tunnel.Memory, "wireguard-memory", c.Tunnel.Memory, "Bytes that a device in userspace may hold")
	f.IntVar(&c.Tunnel.Processors, "wireguard-cpus", c.Tunnel.Processors, "Processors that a device in userspace may use; 0: all")
	f.StringVar(&c.BinDir, "bin-dir", c.BinDir, "Folder of containerd, runc and the shim; empty: beside this binary")
	for _, name := range ignored {
		f.String(name, "", "Accepted for dockerd's sake; has no effect")
		f.Lookup(name).NoOptDefVal = "true"
		f.Lookup(name).Hidden = true
	}
}

// keys maps daemon.json's names to flags where they differ.
var keys = map[string]string{
	"hosts": "host", "labels": "label", "insecure-registries": "insecure-registry", "registry-mirrors": "registry-mirror",
	"default-address-pools": "default-address-pool", "node-generic-resources": "node-generic-resource",
}

// Load reads --config-file into the flags that were not given on the command line, checks the result and warns of what
// has no effect. A missing file is an error only when it was asked for by name.
func (c *Config) Load(f *pflag.FlagSet, log *slog.Logger) error {
	b, err := os.ReadFile(c.ConfigFile)
	if errors.Is(err, fs.ErrNotExist) && !f.Changed("config-file") {
		b, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("config file: %w", err)
	}
	if len(b) > 0 {
		if err := c.merge(f, b); err != nil {
			return fmt.Errorf("config file %s: %w", c.ConfigFile, err)
		}
	}
	for _, name := range ignored {
		if f.Changed(name) {
			log.Warn("flag has no effect in shoal", "flag", "--"+name)
		}
	}
	return c.check()
}

// merge sets each key's flag, unless the command line did: as with dockerd, a key given in both places is refused.
func (c *Config) merge(f *pflag.FlagSet, b []byte) error {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	for key, raw := range doc {
		name := key
		if n, ok := keys[key]; ok {
			name = n
		}
		flag := f.Lookup(name)
		if flag == nil {
			return fmt.Errorf("unknown key %q: use the daemon's flag names", key)
		}
		if flag.Changed {
			return fmt.Errorf("%q is given both as a flag and in the file: give it once", key)
		}
		values, err := flagValues(raw)
		if err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		for _, v := range values {
			if err := f.Set(name, v); err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
		}
	}
	return nil
}

// flagValues turns a JSON value into the words that would follow its flag.
func flagValues(raw json.RawMessage) ([]string, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		var s string
		var pool AddrPool
		switch {
		case json.Unmarshal(item, &s) == nil:
			out = append(out, s)
		case item[0] == '{':
			if err := json.Unmarshal(item, &pool); err != nil {
				return nil, err
			}
			out = append(out, fmt.Sprintf("base=%s,size=%d", pool.Base, pool.Size))
		default:
			out = append(out, string(item)) // numbers and booleans are written as on a command line
		}
	}
	return out, nil
}

func (c *Config) check() error {
	for _, dir := range []*string{&c.DataRoot, &c.ExecRoot} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	// containerd's sockets lie below the exec root, and a unix socket's path ends at 107 bytes.
	if len(c.ExecRoot) > 60 {
		return fmt.Errorf("--exec-root %s is %d bytes long: socket paths below it would be too long, use at most 60", c.ExecRoot, len(c.ExecRoot))
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{"unix://" + filepath.Join(c.ExecRoot, "shoal.sock")}
	}
	for _, l := range c.Labels {
		if k, _, ok := strings.Cut(l, "="); !ok || k == "" {
			return fmt.Errorf("--label %q: want key=value", l)
		}
	}
	if _, err := genericResources(c.Generic); err != nil {
		return err
	}
	if err := new(slog.Level).UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("--log-level %q: want debug, info, warn or error", c.LogLevel)
	}
	return nil
}

// Level is the level to log at.
func (c *Config) Level() slog.Level {
	var l slog.Level
	if c.Debug || l.UnmarshalText([]byte(c.LogLevel)) != nil {
		return slog.LevelDebug
	}
	return l
}

// poolFlag parses base=CIDR,size=BITS.
type poolFlag []AddrPool

func (p *poolFlag) String() string { return "" }
func (p *poolFlag) Type() string   { return "pool" }

func (p *poolFlag) Set(s string) error {
	var pool AddrPool
	for part := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(part, "=")
		var err error
		switch k {
		case "base":
			pool.Base, err = netip.ParsePrefix(v)
		case "size":
			_, err = fmt.Sscanf(v, "%d", &pool.Size)
		default:
			err = fmt.Errorf("unknown part %q: want base=CIDR,size=BITS", k)
		}
		if err != nil {
			return err
		}
	}
	if !pool.Base.IsValid() || pool.Size < pool.Base.Bits() || pool.Size > pool.Base.Addr().BitLen() {
		return fmt.Errorf("%q: the size must lie between the base's prefix length and %d", s, pool.Base.Addr().BitLen())
	}
	*p = append(*p, pool)
	return nil
}
