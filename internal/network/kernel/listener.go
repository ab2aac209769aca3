package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// Listener is a socket of the node that takes in what comes to its port; the address is unspecified where it takes all.
type Listener struct {
	Addr netip.AddrPort
	UID  uint32
}

// The states of sockets that wait for anybody, as bits (tcp_states.h): TCP's listen, and UDP's only one without a peer.
const tcpListen, udpUnconnected = 1 << 10, 1 << 7

// Listeners are the node's own of a protocol (unix.IPPROTO_TCP, unix.IPPROTO_UDP). The kernel picks them out, so it costs as
// much as there are listeners, however many connections there be. A kernel that cannot tell has none.
func (k *Kernel) Listeners(proto uint8) ([]Listener, error) {
	var out []Listener
	err := k.In(plan.HostNS, func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			q := listenQuery{family: family, proto: proto, states: tcpListen}
			if proto == unix.IPPROTO_UDP {
				q.states = udpUnconnected
			}
			req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(q)
			err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(m []byte) bool {
				if l, ok := listenerOf(m); ok {
					out = append(out, l)
				}
				return true
			})
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return err
			}
		}
		return nil
	})
	return out, err
}

// listenQuery is an inet_diag_req_v2 that asks for sockets in the states (linux/inet_diag.h).
type listenQuery struct {
	family, proto uint8
	states        uint32
}

func (q listenQuery) Len() int { return 56 }

func (q listenQuery) Serialize() []byte {
	b := make([]byte, q.Len())
	b[0], b[1] = q.family, q.proto
	binary.NativeEndian.PutUint32(b[4:], q.states)
	return b
}

// listenerOf reads an inet_diag_msg: 4 bytes, a socket's id of 48 (its own port and its peer's, its own address, its peer's, …),
// then expires, rqueue, wqueue, uid, inode.
func listenerOf(m []byte) (Listener, bool) {
	if len(m) < 72 {
		return Listener{}, false
	}
	addr := netip.AddrFrom16([16]byte(m[8:24]))
	if m[0] == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(m[8:12]))
	}
	return Listener{
		Addr: netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(m[4:])),
		UID:  binary.NativeEndian.Uint32(m[64:]),
	}, true
}
