package engine

// SplitMix64 advances the state and returns the next output (Steele, Lea,
// Flood 2014). What it gives is recorded in jobs and checkpoints: the order of
// rows, the first weights of adapters, the canary.
func SplitMix64(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
