package sim

import "time"

// dice is all chance of a run. What it gives is a function of the seed and of what it is asked for, never of how often it
// was asked before: goroutines may ask in any order.
type dice uint64

// roll is a number below n for the k-th case of something.
func (d dice) roll(n uint64, what string, k uint64) uint64 {
	h := uint64(d) ^ 0xcbf29ce484222325
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * 0x100000001b3
	}
	return mix(mix(h)^k*0x9e3779b97f4a7c15) % n
}

// mix spreads every bit over all others.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// one says yes once in n cases.
func (d dice) one(n uint64, what string, k uint64) bool { return d.roll(n, what, k) == 0 }

// between is a time from least to most, to the nanosecond.
func (d dice) between(least, most time.Duration, what string, k uint64) time.Duration {
	return least + time.Duration(d.roll(uint64(most-least)+1, what, k))
}

// delay is a time for something that is mostly quick and sometimes slow.
func (d dice) delay(quick, slow time.Duration, what string, k uint64) time.Duration {
	if d.one(16, "slow "+what, k) {
		return d.between(quick, slow, what, k)
	}
	return d.between(quick/4, quick, what, k)
}
