package tunnel

import (
	"bufio"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Word is the first argument of a program that shall be the process of a device: see Main.
const Word = "wireguard-device"

// The files that the process is given.
const tunFile, socketFile = 3, 4

// ownKey is the line of an answer that has the device's own public key, in the place of the private one.
const ownKey = "own_public_key"

// Main is the process of one device, until the device goes; it returns the exit code. Its TUN and its control socket come
// as open files. It speaks WireGuard's own configuration protocol there, except that it gives its private key to nobody.
func Main(args []string) int {
	flags := flag.NewFlagSet(Word, flag.ContinueOnError)
	memory := flags.Int64("memory", 384<<20, "bytes that the process may hold")
	mtu := flags.Int64("mtu", device.DefaultMTU, "MTU of the link")
	processors := flags.Int("processors", 0, "processors that may run it; 0: all")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *processors > 0 {
		runtime.GOMAXPROCS(*processors)
	}
	if err := serve(*memory, *mtu); err != nil {
		return 1
	}
	return 0
}

func serve(memory, mtu int64) error {
	t, _, err := tun.CreateUnmonitoredTUNFromFD(tunFile)
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(socketFile, "control"))
	if err != nil {
		return err
	}
	limit := newLimit(memory)
	link := newLimitedTUN(t, limit, mtu)
	dev := device.NewDevice(link, limitedBind{conn.NewStdNetBind(), limit}, device.NewLogger(device.LogLevelSilent, ""))
	defer dev.Close()
	public, err := start(dev)
	if err != nil {
		return err
	}
	g := &greeter{dev: dev, public: toBase64(public), woken: make(chan struct{}, 1)}
	go g.run()  // ends with the device
	go func() { // ends with the process
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go (&control{dev, g, link, public}).serve(c)
		}
	}()
	<-dev.Wait()
	return nil
}

// start gives a device its key and the first port that is free.
func start(dev *device.Device) (public string, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	if err := dev.IpcSet("private_key=" + hex.EncodeToString(key.Bytes()) + "\n"); err != nil {
		return "", err
	}
	for port := FirstPort; port <= LastPort; port++ {
		if err = dev.IpcSet(fmt.Sprintf("listen_port=%d\n", port)); err != nil {
			return "", err
		}
		if err = dev.Up(); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return hex.EncodeToString(key.PublicKey().Bytes()), err
}

// control is what clients speak to.
type control struct {
	dev     *device.Device
	greeter *greeter
	link    *limitedTUN
	public  string // hex digits
}

// serve answers one client until it goes.
func (s *control) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		op, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if op == "stop=1\n" {
			s.dev.Close()
			return
		}
		text, err := s.answer(op, in)
		code := int64(0)
		if refusal := (*device.IPCError)(nil); errors.As(err, &refusal) {
			code = refusal.ErrorCode()
		} else if err != nil {
			code = int64(unix.EIO)
		}
		if _, err := io.WriteString(c, fmt.Sprintf("%serrno=%d\n\n", text, code)); err != nil {
			return
		}
	}
}

// answer does one operation, whose first line has been read.
func (s *control) answer(op string, in *bufio.Reader) (string, error) {
	if op == "set=1\n" {
		defer s.greeter.wake()
		return "", s.dev.IpcSetOperation(in)
	}
	if _, err := in.ReadString('\n'); err != nil {
		return "", err
	}
	if op == "get=1\n" {
		return describe(s.dev, s.public)
	}
	var mtu int64
	if _, err := fmt.Sscanf(op, "mtu=%d\n", &mtu); err != nil {
		return "", err
	}
	s.link.setMTU(mtu)
	return "", nil
}

// describe is the device's state without its private key.
func describe(dev *device.Device, public string) (string, error) {
	text, err := dev.IpcGet()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "private_key=") {
			line = ownKey + "=" + public + "\n"
		}
		if !strings.HasPrefix(line, "preshared_key=") {
			out.WriteString(line)
		}
	}
	return out.String(), nil
}
