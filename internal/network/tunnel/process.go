package tunnel

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// answerTime bounds one exchange with a device's process.
const answerTime = 10 * time.Second

// createProcess makes a TUN in the namespace and starts the process that serves it in the host's, where its socket is.
func (t *Tunnels) createProcess(d place, mtu int) error {
	// What is left of one whose process does not answer stands in the way.
	if err := t.Remove(d.ns, d.name); err != nil {
		return err
	}
	if err := os.MkdirAll(t.config.Dir, 0o700); err != nil {
		return err
	}
	var tun *os.File
	err := t.config.Spaces.In(d.ns, func() (err error) {
		tun, err = openTUN(d.name, mtu)
		return err
	})
	if err != nil {
		return fmt.Errorf("make tunnel device %s: %w", d.name, err)
	}
	defer tun.Close()
	socket, err := listen(t.socket(d))
	if err != nil {
		return err
	}
	defer socket.Close()
	args := append(t.config.Command[1:len(t.config.Command):len(t.config.Command)],
		"-mtu", strconv.Itoa(mtu), "-memory", strconv.FormatInt(t.config.Memory, 10), "-processors", strconv.Itoa(t.config.Processors), string(d.ns)+"."+d.name)
	cmd := exec.Command(t.config.Command[0], args...)
	cmd.Args[0] = "shoal"
	cmd.ExtraFiles = []*os.File{tun, socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it is not the daemon's to end
	if err := t.config.Spaces.In(plan.HostNS, cmd.Start); err != nil {
		return fmt.Errorf("start the process of tunnel device %s: %w", d.name, err)
	}
	go func() { _ = cmd.Wait() }() // ends with the process; the watch says that it has
	if _, err := t.readProcess(d); err != nil {
		return errors.Join(fmt.Errorf("tunnel device %s: %w", d.name, err), t.Remove(d.ns, d.name))
	}
	return nil
}

// openTUN makes a TUN device in the namespace of the thread, which goes when the last file of it is closed.
func openTUN(name string, mtu int) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = bringUp(name, mtu)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// bringUp sets a link of the thread's namespace.
func bringUp(name string, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func (t *Tunnels) setMTU(d place, mtu int) error {
	if _, err := os.Lstat(t.socket(d)); err == nil {
		if _, err := t.ask(d, fmt.Sprintf("mtu=%d\n\n", mtu)); err != nil {
			return err
		}
	}
	return t.config.Spaces.In(d.ns, func() error { return bringUp(d.name, mtu) })
}

func (t *Tunnels) removeLink(d place) error {
	return t.config.Spaces.In(d.ns, func() error {
		link, err := netlink.LinkByName(d.name)
		if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
			return nil
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	})
}

func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}

// ask sends a request to a device's process and returns the lines of its answer.
func (t *Tunnels) ask(d place, request string) ([]string, error) {
	w, err := t.watched(d)
	if err != nil {
		return nil, err
	}
	return w.ask(request)
}

// watched is the connection to a device's process, which tells when it ends.
func (t *Tunnels) watched(d place) (*watch, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.watching[d]; w != nil {
		return w, nil
	}
	conn, err := net.DialTimeout("unix", t.socket(d), answerTime)
	if err != nil {
		return nil, err
	}
	w := &watch{conn: conn, answers: make(chan answer, 1), turn: make(chan struct{}, 1), over: make(chan struct{})}
	if t.closed {
		defer w.end()
	} else {
		t.watching[d] = w
	}
	go w.read(func() { t.lost(d, w) }) // ends with the connection
	return w, nil
}

// lost is called when the connection of a device that should be there has ended.
func (t *Tunnels) lost(d place, w *watch) {
	t.mu.Lock()
	wanted := t.watching[d] == w
	if wanted {
		delete(t.watching, d)
		delete(t.publics, d)
	}
	t.mu.Unlock()
	if wanted && t.config.Lost != nil {
		t.config.Log.Warn("the process of a tunnel device has ended; it is made anew with another key", "namespace", d.ns, "device", d.name)
		t.config.Lost(d.ns, d.name)
	}
}

// watch is a connection to a device's process. One exchange is under way at a time.
type watch struct {
	conn    net.Conn
	turn    chan struct{} // holds the token of the exchange
	answers chan answer
	over    chan struct{} // closed when the process has ended
}

type answer struct {
	lines []string
	errno int
}

func (w *watch) end() { _ = w.conn.Close() }

// read takes answers until the connection ends.
func (w *watch) read(ended func()) {
	defer ended()
	defer close(w.over)
	var a answer
	lines := bufio.NewScanner(w.conn)
	for lines.Scan() {
		line := lines.Text()
		switch value, isErr := strings.CutPrefix(line, "errno="); {
		case line == "":
			select {
			case w.answers <- a:
			default: // nobody asked
			}
			a = answer{}
		case isErr:
			a.errno, _ = strconv.Atoi(value)
		default:
			a.lines = append(a.lines, line)
		}
	}
}

var errSilent = errors.New("the device's process does not answer")

func (w *watch) ask(request string) ([]string, error) {
	timer := time.NewTimer(answerTime)
	defer timer.Stop()
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-timer.C:
		return nil, errSilent
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if _, err := w.conn.Write([]byte(request)); err != nil {
		return nil, err
	}
	select {
	case a := <-w.answers:
		if a.errno != 0 {
			return nil, fmt.Errorf("the device refused: %w", unix.Errno(max(a.errno, -a.errno)))
		}
		return a.lines, nil
	case <-w.over:
		return nil, errSilent
	case <-timer.C:
		w.end() // what comes late would be taken for another's answer
		return nil, errSilent
	}
}

func (t *Tunnels) readProcess(d place) (Device, error) {
	lines, err := t.ask(d, "get=1\n\n")
	if err != nil {
		return Device{}, err
	}
	out := Device{Peers: map[plan.Remote]netip.AddrPort{}, Allowed: map[plan.Allowed]string{}}
	peer := plan.Remote{Link: d.name}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case ownKey:
			out.Public = toBase64(value)
		case "listen_port":
			port, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return Device{}, err
			}
			out.Port = uint16(port)
		case "public_key":
			peer.Key = toBase64(value)
			out.Peers[peer] = netip.AddrPort{}
		case "endpoint":
			if out.Peers[peer], err = netip.ParseAddrPort(value); err != nil {
				return Device{}, err
			}
		case "allowed_ip":
			prefix, err := netip.ParsePrefix(value)
			if err != nil {
				return Device{}, err
			}
			out.Allowed[plan.Allowed{Link: d.name, Prefix: prefix}] = peer.Key
		}
	}
	return out, nil
}

func (t *Tunnels) changeProcess(d place, ops []plan.Op) error {
	public, err := t.publicOf(d)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("set=1\n")
	current := ""
	on := func(key string) {
		if current != key {
			current = key
			b.WriteString("public_key=" + toHex(key) + "\n")
		}
	}
	for _, op := range ops {
		switch item := op.Item.(type) {
		case plan.PeerItem:
			current = ""
			on(item.Key)
			if op.Delete {
				b.WriteString("remove=true\n")
				current = ""
				continue
			}
			fmt.Fprintf(&b, "endpoint=%s\n", item.Endpoint)
			if initiates(public, item.Key) {
				fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", keepalive)
			}
		case plan.AllowedItem:
			on(item.Key)
			sign := ""
			if op.Delete {
				sign = "-"
			}
			fmt.Fprintf(&b, "allowed_ip=%s%s\n", sign, item.Prefix)
		default:
			return fmt.Errorf("operation %T on a tunnel device", op.Item)
		}
	}
	b.WriteString("\n")
	_, err = t.ask(d, b.String())
	return err
}

func toHex(base string) string {
	b, _ := base64.StdEncoding.DecodeString(base) // what is no key is refused by the device
	return hex.EncodeToString(b)
}

func toBase64(digits string) string {
	b, _ := hex.DecodeString(digits)
	return base64.StdEncoding.EncodeToString(b)
}
