package child

import (
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/wire"
)

// maxWeights bounds the size that a task may announce.
const maxWeights = 1 << 42

// opening is the weights of a task, opened beside the self-test: reading the
// tokeniser takes as long.
type opening struct {
	mapped   chan struct{} // closed when prepared or err is set
	prepared *tensorfile.Prepared
	err      error

	read      chan struct{} // closed when tokenizer or unread is set
	tokenizer *token.Tokenizer
	unread    error
}

// beginWeights begins to open weights that are mapped, and to read their tokeniser.
func (w *worker) beginWeights(t wire.Weights) {
	o := &opening{mapped: make(chan struct{}), read: make(chan struct{})}
	w.opening = o
	go func() {
		defer close(o.read)
		o.err = w.contained(func() error { return o.open(t) })
		close(o.mapped)
		if o.err == nil {
			o.unread = w.contained(o.readTokenizer)
		}
	}()
}

func (o *opening) open(t wire.Weights) error {
	if err := checkWeights(t); err != nil {
		return err
	}
	data, err := mapWeights(t.FD, t.Size)
	if err == nil {
		o.prepared, err = tensorfile.OpenPrepared(data)
	}
	return err
}

func (o *opening) readTokenizer() (err error) {
	o.tokenizer, err = token.New(o.prepared.Tokenizer())
	return err
}

func checkWeights(t wire.Weights) error {
	if t.Size <= 0 || t.Size > maxWeights || t.FD != 0 && t.FD < 3 {
		return &engine.Problem{Rule: "bad-weights", Message: "the task announces weights that cannot be"}
	}
	return nil
}

// openWeights maps the prepared weights, or reads them from their stream into
// memory of their own that the garbage collector does not count.
func (w *worker) openWeights(t wire.Weights) (*tensorfile.Prepared, *model.Model, error) {
	p, err := w.prepared(t)
	if err != nil {
		return nil, nil, err
	}
	m, err := model.Open(p)
	if err == nil && w.bf16 {
		err = w.useBF16(m)
	}
	return p, m, err
}

func (w *worker) prepared(t wire.Weights) (*tensorfile.Prepared, error) {
	if o := w.opening; o != nil {
		<-o.mapped
		return o.prepared, o.err
	}
	if t.FD != 0 {
		o := &opening{}
		err := o.open(t)
		return o.prepared, err
	}
	if err := checkWeights(t); err != nil {
		return nil, err
	}
	data, err := w.receiveWeights(t.Size)
	if err != nil {
		return nil, err
	}
	return tensorfile.OpenPrepared(data)
}

// tokenizer is that of the weights p.
func (w *worker) tokenizer(p *tensorfile.Prepared) (*token.Tokenizer, error) {
	if o := w.opening; o != nil {
		<-o.read
		return o.tokenizer, o.unread
	}
	return token.New(p.Tokenizer())
}

// useBF16 makes the model multiply in bfloat16. Weights that the prepared file
// holds in float32 only are rounded into memory of this process, by the level that
// was chosen.
func (w *worker) useBF16(m *model.Model) error {
	var memory []uint16
	if n := m.BF16Missing(); n > 0 {
		if err := w.proven(); err != nil {
			return err
		}
		data, err := syscall.Mmap(-1, 0, 2*n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("weights: memory: %w", err)
		}
		keepOutOfDumps(data)
		preferLargePages(data)
		memory = unsafe.Slice((*uint16)(unsafe.Pointer(&data[0])), n)
	}
	m.UseBF16(w.pool, memory)
	return nil
}

// mapWeights maps an inherited descriptor and closes it. A file shorter than
// announced is refused: touching the missing pages would kill the process.
func mapWeights(fd int, size int64) ([]byte, error) {
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	if st.Size < size {
		return nil, &engine.Problem{Rule: "truncated-file", Message: "the prepared weights are shorter than announced"}
	}
	data, err := syscall.Mmap(fd, 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("weights: map: %w", err)
	}
	keepOutOfDumps(data)
	preferLargePages(data)
	return data, nil
}

func (w *worker) receiveWeights(size int64) ([]byte, error) {
	in, err := w.stream("weights")
	if err != nil {
		return nil, err
	}
	if in.Size != size {
		return nil, unexpected(in)
	}
	data, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("weights: memory: %w", err)
	}
	keepOutOfDumps(data)
	preferLargePages(data)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	return data, syscall.Mprotect(data, syscall.PROT_READ)
}
