package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// Nudge makes outside clients of flows that were forgotten speak, who may be waiting for a server that is dead. Each gets two
// bare acknowledgements in the server's name with sequence numbers half of the space apart, so that one at least lies outside
// of what it expects. It answers that with an acknowledgement of its own (RFC 9293 3.10.7.4), to which this node, which no
// longer knows the connection, says reset. Every flow is tried; the errors are joined.
func (k *Kernel) Nudge(flows []Flow) error {
	if len(flows) == 0 {
		return nil
	}
	return k.In(plan.HostNS, func() error {
		var errs []error
		for _, f := range flows {
			for _, seq := range []uint32{0, 1 << 31} {
				errs = append(errs, sendACK(f, seq))
			}
		}
		return errors.Join(errs...)
	})
}

func sendACK(f Flow, seq uint32) error {
	domain := unix.AF_INET
	if f.Client.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, rawAddr(f.Server.Addr())); err != nil {
		return err
	}
	return unix.Sendto(fd, acknowledgement(f, seq), unix.MSG_DONTWAIT, rawAddr(f.Client.Addr()))
}

func rawAddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// acknowledgement is a TCP segment from server to client that holds nothing.
func acknowledgement(f Flow, seq uint32) []byte {
	const size, ack = 20, 0x10
	b := make([]byte, size)
	binary.BigEndian.PutUint16(b, f.Server.Port())
	binary.BigEndian.PutUint16(b[2:], f.Client.Port())
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = size/4<<4, ack
	// The checksum is over the addresses, protocol and length too (RFC 9293 3.1).
	sum := uint32(unix.IPPROTO_TCP + size)
	for _, part := range [][]byte{f.Server.Addr().AsSlice(), f.Client.Addr().AsSlice(), b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}
