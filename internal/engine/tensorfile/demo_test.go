package tensorfile

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"
)

// root is the repository's top directory.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../..")
}

// demoGGUF reads the demo model, without which the oracle tests fail.
func demoGGUF(t *testing.T) []byte {
	t.Helper()
	path := os.Getenv("FIREKEEP_DEMO_GGUF")
	if path == "" {
		path = filepath.Join(root(), ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: the demo model is absent")
		}
		t.Fatalf("the demo model is absent (make fetches it, FIREKEEP_DEMO_GGUF names it): %v", err)
	}
	return b
}

// aligned copies b to an address that OpenPrepared accepts, as a mapping has.
func aligned(b []byte) []byte {
	buf := make([]byte, len(b)+tensorAlign)
	shift := (tensorAlign - int(uintptr(unsafe.Pointer(&buf[0]))%tensorAlign)) % tensorAlign
	copy(buf[shift:], b)
	return buf[shift : shift+len(b) : shift+len(b)]
}

func prepare(t *testing.T, files map[string][]byte) (*Prepared, Info, error) {
	t.Helper()
	var src Source
	for name, b := range files {
		if err := src.Add(context.Background(), name, int64(len(b)), bytes.NewReader(b)); err != nil {
			return nil, Info{}, err
		}
	}
	var out bytes.Buffer
	info, err := Prepare(context.Background(), &src, &out, Options{Name: "test"})
	if err != nil {
		return nil, info, err
	}
	if int64(out.Len()) != info.Size {
		t.Fatalf("wrote %d bytes, info says %d", out.Len(), info.Size)
	}
	p, err := OpenPrepared(aligned(out.Bytes()))
	if err != nil {
		t.Fatalf("what Prepare wrote does not open: %v", err)
	}
	return p, info, nil
}

func TestPrepareDemo(t *testing.T) {
	p, info, err := prepare(t, map[string][]byte{"demo.gguf": demoGGUF(t)})
	if err != nil {
		t.Fatal(err)
	}
	c := p.Config()
	if c.Layers != 30 || c.Hidden != 576 || c.Heads != 9 || c.KVHeads != 3 || c.HeadDim != 64 || c.Vocab != 49152 ||
		c.NormEps != 1e-5 || c.RopeTheta != 100000 || !c.Tied || c.BOS != 1 || len(c.EOS) != 1 || c.EOS[0] != 2 {
		t.Errorf("config %+v", c)
	}
	if info.Parameters != 134515008 || !info.HasChat || p.ChatTemplate() == "" {
		t.Errorf("info %+v", info)
	}
}
