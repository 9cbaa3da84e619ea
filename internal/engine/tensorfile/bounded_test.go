package tensorfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// claims are files of at most 64 bytes that claim to hold 2^60 of something.
func claims() map[string][]byte {
	le := binary.LittleEndian
	gguf := func(tensors, keys uint64, rest ...byte) []byte {
		b := append([]byte("GGUF"), 3, 0, 0, 0)
		b = le.AppendUint64(le.AppendUint64(b, tensors), keys)
		return append(b, rest...)
	}
	array := le.AppendUint64(append(le.AppendUint64(nil, 1), 'a', 9, 0, 0, 0, 4, 0, 0, 0), 1<<60)
	shape := append(le.AppendUint64(nil, 1), 'a', 1, 0, 0, 0)
	shape = append(le.AppendUint64(shape, 1<<60), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	st := func(header string) []byte { return append(le.AppendUint64(nil, uint64(len(header))), header...) }
	return map[string][]byte{
		"gguf keys": gguf(0, 1<<60), "gguf tensors": gguf(1<<60, 0), "gguf array": gguf(0, 1, array...), "gguf shape": gguf(1, 0, shape...),
		"gguf string":        gguf(0, 1, le.AppendUint64(nil, 1<<60)...),
		"safetensors header": le.AppendUint64(nil, 1<<60),
		"safetensors shape":  st(`{"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}}`),
		"safetensors wrap":   st(`{"a":{"dtype":"F32","shape":[1073741824,1073741824,4],"data_offsets":[0,0]}}`),
		"prepared":           le.AppendUint64([]byte(magic), 1<<60),
	}
}

func open(b []byte) error {
	_, err := ReadGGUF(b)
	if bytes.HasPrefix(b, []byte("GGUF")) {
		return err
	}
	if bytes.HasPrefix(b, []byte(magic)) {
		_, err = OpenPrepared(aligned(b))
		return err
	}
	_, _, err = ReadSafetensors(b)
	return err
}

func TestClaimsAllocateNothing(t *testing.T) {
	for name, b := range claims() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := open(b)
		runtime.ReadMemStats(&after)
		var p *engine.Problem
		if !errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: allocated %d bytes", name, n)
		}
	}
}

func TestTruncatedDemo(t *testing.T) {
	file := demoGGUF(t)
	for _, n := range []int{10, 100, 5000, 2 << 20, len(file) / 2, len(file) - 1} {
		_, _, err := prepare(t, map[string][]byte{"demo.gguf": file[:n]})
		p, ok := err.(*engine.Problem)
		if !ok || p.Rule != "truncated-file" || p.Object != "demo.gguf" {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	in := []Tensor{F32("b", []int{2, 2}, []float32{1, -2, 3, float32(math.Copysign(0, -1))}), F32("a", []int{1}, []float32{7}), F32("é", []int{0}, nil)}
	var out, again bytes.Buffer
	meta := map[string]string{"format": "pt", "z": "1", "a": "<&>"}
	if err := WriteSafetensors(&out, in, meta); err != nil {
		t.Fatal(err)
	}
	if err := WriteSafetensors(&again, in, meta); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Fatalf("not deterministic: %v", err)
	}
	tensors, got, err := ReadSafetensors(out.Bytes())
	if err != nil || len(tensors) != 3 || got["a"] != "<&>" {
		t.Fatalf("%v %v %v", tensors, got, err)
	}
	for i, x := range tensors {
		v, err := x.Float32()
		w, _ := in[i].Float32()
		if err != nil || x.Name != in[i].Name || len(v) != len(w) {
			t.Errorf("%v %v", x, err)
		}
		for j := range v {
			if math.Float32bits(v[j]) != math.Float32bits(w[j]) {
				t.Errorf("%s[%d] = %g, want %g", x.Name, j, v[j], w[j])
			}
		}
	}
	if err := WriteSafetensors(&out, []Tensor{in[0], in[0]}, nil); err == nil {
		t.Error("the same name twice was written")
	}
}

func TestPreparedCorruption(t *testing.T) {
	if _, err := OpenPrepared(aligned([]byte(strings.Repeat("x", 100)))); err == nil {
		t.Error("garbage opened")
	}
	b := tinyPrepared(t)
	for n := 0; n < len(b); n += 97 {
		if _, err := OpenPrepared(aligned(b[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes opened", n, len(b))
		}
	}
}
