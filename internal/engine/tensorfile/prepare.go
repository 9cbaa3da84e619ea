package tensorfile

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"unsafe"

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
		if c := weights[i].coding; e.N > 0 && c.Valid(e.K) {
			plan[i].Coding = c
		}
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
	if w.packed != nil && !e.isRounded() {
		_, err := out.Write(rawFloats(w.packed))
		return err
	}
	panel, buf := make([]float32, kernel.Panel*e.K), make([]byte, 4*kernel.Panel*e.K)
	half, coded := make([]uint16, kernel.BF16Len(1, e.K)), newCodedPanel(e)
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
		} else if coded != nil {
			if err := coded.write(out, panel, w, p, object); err != nil {
				return err
			}
		} else if err := writeFloats(out, panel, buf, object, w.stored); err != nil {
			return err
		}
	}
	return nil
}

// codedPanel is a panel of a matrix that stays in the coding of its file.
type codedPanel struct {
	entry  tableEntry
	data   []float32 // of the panel
	row    *codedRow
	packed kernel.Packed // a view of data
	again  []float32     // what data are worth
}

// newCodedPanel returns nil where e is held in float32.
func newCodedPanel(e tableEntry) *codedPanel {
	if e.Coding.Kind == kernel.Plain || e.isRounded() {
		return nil
	}
	c := &codedPanel{entry: e, row: newCodedRow(e.Coding, e.K)}
	c.data, c.again = make([]float32, e.Coding.CodedLen(1, e.K)), make([]float32, kernel.Panel*e.K)
	c.packed = kernel.Packed{N: kernel.Panel, K: e.K, Data: c.data, Coding: e.Coding}
	return c
}

// write writes the panel that begins with row first of w and has these values. It
// makes sure that nothing is lost: codes that were worth anything else than the values
// that their file means would change the model.
func (c *codedPanel) write(out io.Writer, values []float32, w weight, first int, object string) error {
	clear(c.data)
	for j := range min(kernel.Panel, c.entry.N-first) {
		w.codes(c.row, first+j)
		if c.entry.Coding.Block == 0 {
			c.entry.Coding.PackHalves(c.data, j, c.row.halves)
		} else {
			c.entry.Coding.PackCodes(c.data, j, c.row.codes, c.row.steps, c.row.leasts)
		}
	}
	c.packed.Expand(c.again, 0, 0, c.entry.K)
	for i, v := range values {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return notFinite(object, w.stored)
		}
		if math.Float32bits(v) != math.Float32bits(c.again[i]) {
			return problem("bad-values", object, w.stored, "holds a value that its blocks do not give back")
		}
	}
	_, err := out.Write(rawFloats(c.data))
	return err
}

// rawFloats is the memory of values; prepared files are those of little-endian hosts.
func rawFloats(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

func notFinite(object, name string) error {
	return problem("bad-values", object, name, "holds a value that is not finite")
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
			return notFinite(object, name)
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
