package canary

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"testing"
)

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestSearchFinds plants every form in noise, plain and compressed.
func TestSearchFinds(t *testing.T) {
	forms := append(append(Text("word", "zanzibarquartz"), Tokens("word", []uint32{125, 100, 113, 49154, 125, 108, 101, 100})...), Number("reward", 0.7361928451)...)
	pack := map[string]func(io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"zlib": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
	}
	for _, f := range forms {
		planted := append(append(noise(1000), f.Bytes...), noise(1000)...)
		if len(Search(planted, []Form{f})) != 1 {
			t.Errorf("%s is not found", f.Name)
		}
		for name, open := range pack {
			var b bytes.Buffer
			b.Write(noise(100))
			w := open(&b)
			w.Write(planted)
			w.Close()
			b.Write(noise(100))
			if len(Search(b.Bytes(), []Form{f})) == 0 {
				t.Errorf("%s is not found in %s", f.Name, name)
			}
		}
	}
	if found := Search(noise(1<<20), forms); len(found) > 0 {
		t.Errorf("found in noise: %v", found)
	}
}

// TestBase64 encodes the word among neighbours of every length.
func TestBase64(t *testing.T) {
	forms := Text("word", "zanzibarquartz")
	for before := range 9 {
		for after := range 4 {
			text := append(append(noise(before), "zanzibarquartz"...), noise(after)...)
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				if len(Search([]byte(enc.EncodeToString(text)), forms)) == 0 {
					t.Errorf("not found with %d bytes before and %d after", before, after)
				}
			}
		}
	}
}
