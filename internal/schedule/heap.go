package schedule

// A node's rank is one number, so that a heap of them compares in one instruction: a bit for nodes on which the
// service keeps failing, then the service's tasks, then all tasks, then the node's place in the order of IDs.
const (
	indexBits  = 21
	totalShift = indexBits
	ownShift   = 2 * indexBits
	failingBit = 1 << 63
	fieldMax   = 1<<indexBits - 1
)

// spreadRank puts the emptier node first.
func spreadRank(own, total uint32, i int32) uint64 {
	return min(uint64(own), fieldMax)<<ownShift | min(uint64(total), fieldMax)<<totalShift | uint64(i)
}

// binpackRank puts the fuller node first.
func binpackRank(total uint32, i int32) uint64 {
	return (fieldMax-min(uint64(total), fieldMax))<<totalShift | uint64(i)
}

func rankIndex(rank uint64) int32 { return int32(rank & fieldMax) }

// heap is a binary heap, the smallest first.
type heap []uint64

func (h heap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// down moves the element at i to where it belongs below.
func (h heap) down(i int) {
	v := h[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if right := child + 1; right < len(h) && h[right] < h[child] {
			child = right
		}
		if v <= h[child] {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = v
}

// replace puts v in the place of the smallest.
func (h heap) replace(v uint64) {
	h[0] = v
	h.down(0)
}

// pop drops the smallest.
func (h *heap) pop() {
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	if last > 1 {
		h.down(0)
	}
}
