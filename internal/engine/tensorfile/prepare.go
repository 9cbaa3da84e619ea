package tensorfile

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Options of Prepare.
type Options struct {
	Name string // base_model_name_or_path of exported adapters
	// Check judges the tokeniser and the template before anything is written;
	// nil checks nothing. Package token does it.
	Check func(tokenizer []byte, template string) error
	// BFloat16 adds the matrices that passes multiply with in bfloat16, half as
	// large again, so that processes share them too; without it each process that
	// multiplies in bfloat16 makes its own.
	BFloat16 bool
	// Progress is told the share of bytes written, 0..1.
	Progress func(fraction float64)
}

// Info describes prepared weights.
type Info struct {
	Config     engine.Config
	Parameters int64
	Size       int64
	SHA256     string // "sha256:hex" of the written bytes
	Source     string // digest of the source
	HasChat    bool
}

// Prepare converts a source into prepared weights, written front to back.
// Beyond the source and one panel of 32 rows it holds nothing in memory.
func Prepare(ctx context.Context, src *Source, w io.Writer, opt Options) (Info, error) {
	c, err := src.open(ctx)
	if err != nil {
		return Info{}, err
	}
	return c.write(ctx, src.Digest(), w, opt)
}

// write writes the prepared weights of c, which were made from what has the digest
// source.
func (c *checkpoint) write(ctx context.Context, source string, w io.Writer, opt Options) (Info, error) {
	var err error
	c.config.Name = opt.Name
	if opt.Check != nil {
		if err := opt.Check(c.tokenizer, c.template); err != nil {
			return Info{}, err
		}
	}
	plan := tensorPlan(&c.config)
	weights := make([]weight, len(plan))
	info := Info{Config: c.config, Source: source, HasChat: c.template != ""}
	for i, e := range plan {
		if weights[i], err = c.find(e); err != nil {
			return Info{}, err
		}
		info.Parameters += int64(max(e.N, 1)) * int64(e.K)
	}
	if opt.BFloat16 {
		for i, e := range plan {
			if e.multiplied(&c.config) {
				plan, weights = append(plan, e.rounded()), append(weights, weights[i])
			}
		}
	}
	head, err := newHeader(c, info, plan)
	if err != nil {
		return Info{}, err
	}
	out := &counter{w: w, sum: sha256.New()}
	if _, err := out.Write(head.bytes); err != nil {
		return Info{}, err
	}
	for i, e := range head.table {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		if err := out.pad(head.base + e.Offset); err != nil {
			return Info{}, err
		}
		if err := writeTensor(out, e, weights[i], c.object); err != nil {
			return Info{}, err
		}
		if opt.Progress != nil {
			opt.Progress(float64(out.n) / float64(head.size))
		}
	}
	info.Size, info.SHA256 = out.n, "sha256:"+hex.EncodeToString(out.sum.Sum(nil))
	return info, nil
}

// counter writes, counts and digests.
type counter struct {
	w   io.Writer
	n   int64
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	return n, err
}

// pad writes zeros up to offset.
func (c *counter) pad(offset int64) error {
	if offset == c.n {
		return nil
	}
	_, err := c.Write(make([]byte, offset-c.n))
	return err
}

// writeTensor writes a vector, or a matrix panel by panel.
func writeTensor(out io.Writer, e tableEntry, w weight, object string) error {
	row := make([]float32, e.K)
	if e.N == 0 {
		w.row(row, 0)
		return writeFloats(out, row, make([]byte, 4*len(row)), object, w.stored)
	}
	panel, buf := make([]float32, kernel.Panel*e.K), make([]byte, 4*kernel.Panel*e.K)
	half := make([]uint16, kernel.BF16Len(1, e.K))
	for p := 0; p < e.N; p += kernel.Panel {
		clear(panel)
		for j := range min(kernel.Panel, e.N-p) {
			w.row(row, p+j)
			for k, v := range row {
				panel[k*kernel.Panel+j] = v
			}
		}
		if e.isRounded() {
			kernel.PackPanelBF16(half, panel, e.K)
			if err := writeHalves(out, half); err != nil {
				return err
			}
		} else if err := writeFloats(out, panel, buf, object, w.stored); err != nil {
			return err
		}
	}
	return nil
}

func writeHalves(out io.Writer, values []uint16) error {
	buf := make([]byte, 0, 2*len(values))
	for _, v := range values {
		buf = binary.LittleEndian.AppendUint16(buf, v)
	}
	_, err := out.Write(buf)
	return err
}

// writeFloats refuses NaN and infinity: such a model answers nothing.
func writeFloats(out io.Writer, values []float32, buf []byte, object, name string) error {
	for i, v := range values {
		bits := math.Float32bits(v)
		if bits&0x7f800000 == 0x7f800000 {
			return problem("bad-values", object, name, "holds a value that is not finite")
		}
		binary.LittleEndian.PutUint32(buf[4*i:], bits)
	}
	_, err := out.Write(buf[:4*len(values)])
	return err
}

// header is the front of a prepared file, laid out before any data is written.
type header struct {
	bytes []byte
	base  int64 // where data begin
	size  int64 // of the whole file
	table []tableEntry
}

func newHeader(c *checkpoint, info Info, plan []tableEntry) (*header, error) {
	h := &header{table: plan}
	at := align(int64(len(c.tokenizer)), tensorAlign)
	for i := range plan {
		e := &plan[i]
		e.Offset, e.Length = at, e.bytes()
		at = align(e.Offset+e.Length, tensorAlign)
		h.size = e.Offset + e.Length
	}
	body, err := json.Marshal(preparedHeader{Layout: layout, Config: info.Config, Source: info.Source, Parameters: info.Parameters,
		Tokenizer: int64(len(c.tokenizer)), Template: c.template, Tensors: plan})
	if err != nil {
		return nil, err
	}
	if len(body) > MaxHeader {
		return nil, problem("too-large", c.object, "", "the header would have %d bytes", len(body))
	}
	h.base = align(int64(16+len(body)), pageAlign)
	h.size += h.base
	h.bytes = make([]byte, h.base, h.base+int64(len(c.tokenizer)))
	copy(h.bytes, magic)
	binary.LittleEndian.PutUint64(h.bytes[8:], uint64(len(body)))
	copy(h.bytes[16:], body)
	h.bytes = append(h.bytes, c.tokenizer...)
	return h, nil
}

func align(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }
