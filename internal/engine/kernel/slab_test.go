package kernel

import "testing"

func TestSlab(t *testing.T) {
	for _, n := range []int{1, 1000, 3 << 20} {
		s := NewSlab(n)
		if len(s.Values) != n {
			t.Fatalf("a slab of %d values has %d", n, len(s.Values))
		}
		for i, v := range s.Values {
			if v != 0 {
				t.Fatalf("value %d of %d is %v before anybody wrote it", i, n, v)
			}
			s.Values[i] = 1
		}
		s.Free()
	}
	Slab{}.Free()
}
