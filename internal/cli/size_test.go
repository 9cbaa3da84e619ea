package cli

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"1": 1, "1000000": 1e6, "4GiB": 4 << 30, "1.5GB": 15e8, "512 MiB": 512 << 20, "7B": 7, "3kB": 3000, "2TiB": 2 << 40,
		"": -1, "GiB": -1, "-1GiB": -1, "0": -1, "0.1": -1, "4 gib": -1, "NaN": -1, "Inf": -1, "1e30": -1, "9223372036854775808": -1, "4GiB4": -1,
	} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); (err != nil) != (want < 0) || err == nil && b != want {
			t.Errorf("%q is %d, %v; want %d", text, b, err, want)
		}
	}
}
