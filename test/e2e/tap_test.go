package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"shoal/internal/cli/playground"
)

// tap keeps the frames of a machine's uplink.
type tap struct {
	file *os.File
	done chan []byte // all frames, one behind the other
}

// tapBytes bounds what a tap keeps.
const tapBytes = 64 << 20

// tapWord is: tap start N | tap saw TEXT | tap clean TEXT
func tapWord(_ *testscript.TestScript, s *story, args []string) error {
	if args[0] == "start" && s.tap == nil {
		m, err := s.Find(args[1])
		if err != nil {
			return err
		}
		s.tap, err = startTap(m)
		return err
	}
	if s.tap == nil || args[0] != "saw" && args[0] != "clean" {
		return errors.New("want start N, then saw TEXT or clean TEXT")
	}
	frames, err := s.tap.stop()
	s.tap = nil
	switch seen := bytes.Contains(frames, []byte(args[1])); {
	case err != nil:
		return err
	case len(frames) == 0:
		return errors.New("nothing at all went over the cable")
	case seen && args[0] == "clean":
		return fmt.Errorf("%q went over the cable in clear", args[1])
	case !seen && args[0] == "saw":
		return fmt.Errorf("%q did not go over the cable, in %d bytes", args[1], len(frames))
	}
	return nil
}

func startTap(m *playground.Machine) (*tap, error) {
	t := &tap{done: make(chan []byte, 1)}
	const all = uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	err := m.Within(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return err
		}
		t.file = os.NewFile(uintptr(fd), "tap")
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil {
		return nil, err
	}
	go func() {
		var kept []byte
		frame := make([]byte, 1<<16)
		for {
			n, err := t.file.Read(frame)
			if err != nil {
				t.done <- kept
				return
			}
			if len(kept) < tapBytes {
				kept = append(kept, frame[:n]...)
			}
		}
	}()
	return t, nil
}

// stop returns the frames, those included that are on their way to the tap.
func (t *tap) stop() ([]byte, error) {
	if err := t.file.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		return nil, err
	}
	kept := <-t.done
	if len(kept) >= tapBytes {
		return nil, errors.New("more went over the cable than the tap keeps")
	}
	return kept, t.file.Close()
}
