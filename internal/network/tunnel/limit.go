package tunnel

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

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

// Read is tun.Device's.
func (t *limitedTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	t.limit.wait()
	return t.Device.Read(bufs, sizes, offset)
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
