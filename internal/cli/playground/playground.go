package playground

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Config says what a playground is made of. The zero value of every field but Dir has a default.
type Config struct {
	Dir      string       // holds everything, sockets too: at most 60 bytes, and not below /run
	Subnet   netip.Prefix // of the switch, a /24; default 10.98.0.0/24. Playgrounds may share it: they do not see one another
	Hostname string       // a machine's name is this and its number; default "node"
	Shoal    string       // the binary that machines run; default: this process's own
	Tied     bool         // machines end when this process ends, however it ends
	Flags    []string     // further flags for every daemon
	// Disk is the size in bytes of a disk of its own for each machine's daemon, which can be slow or full; 0: the folder lies
	// on this machine's disk.
	Disk int64
}

// Playground is a switch, a client and the machines plugged in. Its methods may be called by one process at a time.
type Playground struct {
	Config
	nodes []int               // numbers of the machines that were made, on or off
	ties  map[string]*os.File // see tie
}

const (
	stateFile  = "playground.json"
	switchName = "switch"
	clientName = "client"
	// Where the switch and the client stand in the subnet; machines have their own number.
	switchHost, clientHost = 254, 200
)

type state struct {
	Subnet   netip.Prefix
	Hostname string
	Shoal    string
	Flags    []string
	Machines []int
	Disk     int64
}

// New makes the folder, the switch and the client, and no machine yet. It is an error if the folder holds a playground already.
func New(c Config) (*Playground, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a playground needs root: it makes namespaces")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.Dir, stateFile)); err == nil {
		return nil, fmt.Errorf("%s holds a playground already: remove it first (shoal playground down), or choose another folder", c.Dir)
	}
	p := &Playground{Config: c, ties: map[string]*os.File{}}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("playground: %w", err)
	}
	if err := p.save(); err != nil {
		return nil, err
	}
	for _, m := range []*Machine{p.Switch(), p.Client()} {
		if err := m.Boot(); err != nil {
			return nil, errors.Join(err, p.Remove())
		}
	}
	return p, nil
}

// Open finds the playground that an earlier process made in dir.
func Open(dir string) (*Playground, error) {
	dir, err := filepath.Abs(dir) // machines have other working directories
	if err != nil {
		return nil, fmt.Errorf("playground: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no playground in %s (make one with: shoal playground up)", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("playground: %w", err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("playground: %s: %w", stateFile, err)
	}
	c := Config{Dir: dir, Subnet: s.Subnet, Hostname: s.Hostname, Shoal: s.Shoal, Flags: s.Flags, Disk: s.Disk}
	return &Playground{Config: c, nodes: s.Machines, ties: map[string]*os.File{}}, nil
}

func (c *Config) check() error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return fmt.Errorf("playground: folder %q: %w", c.Dir, cmp.Or(err, errors.New("want a path")))
	}
	if c.Dir = dir; len(dir) > 60 {
		return fmt.Errorf("playground: folder %s is too long: a unix socket's path has 107 bytes at most, so choose 60 or fewer", dir)
	}
	if strings.HasPrefix(dir+"/", "/run/") || strings.HasPrefix(dir+"/", "/var/run/") {
		return fmt.Errorf("playground: %s lies below /run, which every machine has its own of", dir)
	}
	if !c.Subnet.IsValid() {
		c.Subnet = netip.MustParsePrefix("10.98.0.0/24")
	}
	if c.Subnet.Bits() != 24 || !c.Subnet.Addr().Is4() {
		return fmt.Errorf("playground: subnet %s: want an IPv4 /24", c.Subnet)
	}
	c.Subnet = c.Subnet.Masked()
	c.Hostname = cmp.Or(c.Hostname, "node")
	if c.Disk != 0 && c.Disk < 64<<20 {
		return fmt.Errorf("playground: a disk of %d bytes: want 64 MiB or more", c.Disk)
	}
	if c.Shoal == "" {
		if c.Shoal, err = os.Executable(); err != nil {
			return fmt.Errorf("playground: where this binary is: %w", err)
		}
	}
	return nil
}

func (p *Playground) save() error {
	b, err := json.MarshalIndent(state{p.Subnet, p.Hostname, p.Shoal, p.Flags, p.nodes, p.Disk}, "", "  ")
	if err != nil {
		return fmt.Errorf("playground: %w", err)
	}
	file := filepath.Join(p.Dir, stateFile)
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return fmt.Errorf("playground: %w", err)
	}
	return os.Rename(file+".new", file)
}

// Machine returns machine n (1 to 199). A new one is off: Boot it.
func (p *Playground) Machine(n int) (*Machine, error) {
	if n < 1 || n >= clientHost {
		return nil, fmt.Errorf("machine %d: want 1 to %d", n, clientHost-1)
	}
	if !slices.Contains(p.nodes, n) {
		p.nodes = append(p.nodes, n)
		slices.Sort(p.nodes)
		if err := p.save(); err != nil {
			return nil, err
		}
	}
	return p.machine(p.Hostname+strconv.Itoa(n), n), nil
}

// Machines returns the machines that were made, on or off, by number.
func (p *Playground) Machines() []*Machine {
	var out []*Machine
	for _, n := range p.nodes {
		out = append(out, p.machine(p.Hostname+strconv.Itoa(n), n))
	}
	return out
}

// Find returns the machine that a person means: its number, its name, "client" or "switch".
func (p *Playground) Find(word string) (*Machine, error) {
	for _, m := range append(p.Machines(), p.Client(), p.Switch()) {
		if word == m.Name || word == strconv.Itoa(m.Number) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no machine %q in this playground", word)
}

// Client is a machine outside of the cluster.
func (p *Playground) Client() *Machine { return p.machine(clientName, clientHost) }

// Switch is the machine that the others are plugged into. It forwards, and its address is the others' gateway.
func (p *Playground) Switch() *Machine { return p.machine(switchName, switchHost) }

func (p *Playground) machine(name string, n int) *Machine {
	return &Machine{Name: name, Number: n, Address: p.address(n), Address6: p.address6(n), Dir: filepath.Join(p.Dir, name), of: p}
}

// address6 is in a /64 made of the IPv4 subnet: fd70:a62::5 beside 10.98.0.5.
func (p *Playground) address6(n int) netip.Addr {
	a := p.Subnet.Addr().As4()
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x70, 2: a[0], 3: a[1], 4: a[2], 14: byte(n >> 8), 15: byte(n)})
}

func (p *Playground) address(n int) netip.Addr {
	a := p.Subnet.Addr().As4()
	a[3] = byte(n)
	return netip.AddrFrom4(a)
}

// cgroup names this playground's control group, below which every machine has one.
func (p *Playground) cgroup() string {
	h := sha256.Sum256([]byte(p.Dir))
	return "shoal-playground-" + hex.EncodeToString(h[:4])
}

// Remove ends every machine and removes every trace: processes, control groups and the folder. It goes on after an error and
// returns all of them; calling it again is right.
func (p *Playground) Remove() error {
	var errs []error
	for _, m := range append(p.Machines(), p.Client(), p.Switch()) {
		errs = append(errs, m.Remove())
	}
	errs = append(errs, removeGroup(p.cgroup()))
	if errors.Join(errs...) == nil {
		errs = append(errs, os.RemoveAll(p.Dir))
	}
	return errors.Join(errs...)
}
