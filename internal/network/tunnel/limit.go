package tunnel

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
)

// limit bounds what packets under way may take of memory. The device's queues are bounded in packets of any size, up to
// gigabytes; beyond the limit less is read until what was read has left, and the kernel's queues fill up and drop as those
// of any full link. It costs nothing while no packets come.
type limit struct {
	bytes uint64

	mu     sync.Mutex // held by the one who looks
	looked time.Time
}

// The process should stay below its bound as a whole; packets get this part of it.
func newLimit(memory int64) *limit {
	debug.SetMemoryLimit(memory * 7 / 8)
	return &limit{bytes: uint64(memory) * 3 / 4}
}

// lookTime is how often the memory in use is looked at, waitTime how long a reader waits each time it is too much, and
// waits how many times: the device's buffers are cached for a while after their packets have left.
const (
	lookTime = 5 * time.Millisecond
	waitTime = 2 * time.Millisecond
	waits    = 10
)

// wait holds a reader up while too much is under way, but never for good.
func (l *limit) wait() {
	if !l.mu.TryLock() {
		return // another reader looks
	}
	defer l.mu.Unlock()
	if time.Since(l.looked) < lookTime {
		return
	}
	for range waits {
		if inUse() <= l.bytes {
			break
		}
		runtime.GC() // nothing may be allocated until the next one, which would let go of what is not used any more
		timer := time.NewTimer(waitTime)
		<-timer.C
	}
	l.looked = time.Now()
}

func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// limitedTUN is a TUN whose link lies in another namespace than the process: its MTU is what the daemon says.
type limitedTUN struct {
	tun.Device
	limit  *limit
	mtu    atomic.Int64
	events chan tun.Event
}

func newLimitedTUN(t tun.Device, l *limit, mtu int64) *limitedTUN {
	out := &limitedTUN{Device: t, limit: l, events: make(chan tun.Event, 1)}
	out.mtu.Store(mtu)
	return out
}

// MTU is tun.Device's. WireGuard pads packets up to it: with another than the link's they would be fragmented.
func (t *limitedTUN) MTU() (int, error) { return int(t.mtu.Load()), nil }

func (t *limitedTUN) setMTU(mtu int64) {
	t.mtu.Store(mtu)
	select {
	case t.events <- tun.EventMTUUpdate:
	default: // the event that waits will read it
	}
}

// Events is tun.Device's. It is not closed: the process ends with its device.
func (t *limitedTUN) Events() <-chan tun.Event { return t.events }

// Read is tun.Device's. It gathers what waits: a segmented stream comes as many packets in one, but one inside a VXLAN, as in the
// ingress network, comes packet by packet, and each alone would go its way through all of the device's queues.
func (t *limitedTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	t.limit.wait()
	n, err := t.Device.Read(bufs, sizes, offset)
	for last := n; err == nil && last == 1 && len(bufs)-n >= mostSegments && t.waits(); n += last {
		last, err = t.Device.Read(bufs[n:], sizes[n:], offset)
	}
	return n, err
}

// mostSegments is how many packets one read may give: 64 KB in segments of 1 KB, smaller than the links of a network may be.
const mostSegments = 64

// waits says whether a packet can be read now.
func (t *limitedTUN) waits() bool {
	raw, err := t.File().SyscallConn()
	ready := 0
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			ready, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) // an error is the next read's to tell
		})
	}
	return err == nil && ready > 0
}

type limitedBind struct {
	conn.Bind
	limit *limit
}

// Open is conn.Bind's.
func (b limitedBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	list, actual, err := b.Bind.Open(port)
	for i, receive := range list {
		list[i] = func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			b.limit.wait()
			return receive(packets, sizes, eps)
		}
	}
	return list, actual, err
}
